"""Turns any stored value into JSON, or into a page, that every client can read."""

import json
import math
from datetime import date
from typing import Any

#: How deeply a value may be nested before the rest of it is left out: JSON libraries have limits, too.
_DEEPEST = 50


def dumps(document: object) -> str:
    """As `json.dumps`, but never fails, and never writes what is not JSON."""
    try:
        return json.dumps(document, default=_plain_leaf, allow_nan=False)
    except (ValueError, TypeError, RecursionError):
        return json.dumps(plain(document), allow_nan=False)


def plain(value: Any, depth: int = _DEEPEST) -> Any:
    """A copy of nothing but what JSON and UTF-8 have a word for.

    Python writes NaN and Infinity, which no browser reads: they become null. Dates, decimals, UUIDs and
    bytes, which kombu stores with JSON, become strings; half a character becomes a question mark.
    """
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, dict | list | tuple) and depth == 0:
        return "…"
    if isinstance(value, dict):
        return {str(plain(key)): plain(item, depth - 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, depth - 1) for item in value]
    return plain(_plain_leaf(value))


def _plain_leaf(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value.isoformat() if isinstance(value, date) else str(value)
