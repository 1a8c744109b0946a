"""Celery's documents as they are stored, which may be anything."""

from collections.abc import Callable, Mapping
from typing import Any

from flask_longtask.json_text import loads, plain
from flask_longtask.status import UNREADABLE


def load_document(payload: bytes | None, decode: Callable[[bytes], Any]) -> Mapping[str, Any]:
    """What Celery has stored of a task; empty if nothing. `decode` is Celery's own way to read it, which is slower."""
    if not payload:
        return {}
    try:
        # Others are compressed, or have a date or another of Kombu's own types inside.
        is_plain = payload.startswith(b"{") and b"__type__" not in payload
        document = loads(payload) if is_plain else plain(decode(payload))
    # The decoders' errors share no base class, and the client is owed an answer.
    except Exception:
        document = None
    is_readable = isinstance(document, dict) and isinstance(document.get("status"), str)
    return document if is_readable else {"status": UNREADABLE}
