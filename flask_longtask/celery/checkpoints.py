"""The JSON text of a checkpoint: what an attempt at a task keeps for the next one. The store keeps it in Redis."""

import json
from typing import Any

from flask_longtask.json_text import loads

#: The most bytes of a checkpoint.
MOST_BYTES = 16_000


def dump(value: Any) -> bytes:
    """Return a value as JSON. Raises TypeError if JSON cannot express it, and ValueError if it is too large."""
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"A checkpoint must be a value that JSON can express: {error}") from error
    if len(text) > MOST_BYTES:
        raise ValueError(
            f"A checkpoint may have at most {MOST_BYTES:,} bytes of JSON, not {len(text):,}."
        )
    return text


def load(text: bytes | None) -> Any:
    """Return the value. None if there is none, or if something else has been written in its place."""
    try:
        return loads(text) if text else None
    except (ValueError, RecursionError):
        return None
