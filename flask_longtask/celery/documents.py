"""Reads Celery's documents, whatever may have been stored instead of one."""

from collections.abc import Callable, Mapping
from typing import Any

from flask_longtask.json_text import loads, plain
from flask_longtask.status import UNREADABLE


def load_document(payload: bytes | None, decode: Callable[[bytes], Any]) -> Mapping[str, Any]:
    """Return Celery's document of a task; empty if there is none. `decode` is Celery's own decoder, which is slower."""
    if not payload:
        return {}
    try:
        # Other documents are compressed, or contain a date or another of Kombu's own types.
        is_plain = payload.startswith(b"{") and b"__type__" not in payload
        document = loads(payload) if is_plain else plain(decode(payload))
    # The decoders' errors share no base class, and the client must get an answer.
    except Exception:
        document = None
    is_readable = isinstance(document, dict) and isinstance(document.get("status"), str)
    return document if is_readable else {"status": UNREADABLE}
