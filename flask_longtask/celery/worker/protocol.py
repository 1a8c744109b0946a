"""Checks that a task's message follows Celery's message protocol, before Celery relies on it.

See https://docs.celeryq.dev/en/stable/internals/protocol.html. Celery itself checks some fields only where it uses
them: in the middle of its event loop, which then ends, or in each pool process that takes the message, which then dies.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from celery.utils.time import maybe_iso8601

Check = Callable[[Any], bool]


def _is_text(value: Any) -> bool:
    # Half of a surrogate pair cannot be written to Redis.
    return isinstance(value, str) and value.encode(errors="replace").decode() == value


def is_name(value: Any) -> bool:
    """Whether this can be a task's id or name."""
    return _is_text(value) and value != ""


def _is_time(value: Any) -> bool:
    try:
        # Celery's own parser; a time before the year 1 in this host's time zone is an error.
        maybe_iso8601(value).astimezone()
    except (ValueError, TypeError, AttributeError, OverflowError):
        return False
    return True


def _is_count(value: Any) -> bool:
    is_whole = type(value) is int or (isinstance(value, float) and value.is_integer())
    return is_whole and value >= 0


def _is_limit(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value is None or (is_number and math.isfinite(value) and value >= 0)


def _are_limits(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(map(_is_limit, value))


def _is_signature(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and is_name(value.get("task"))
        and isinstance(value.get("options") or {}, dict)
    )


def _are_signatures(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(map(_is_signature, value))


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


#: Fields of the message's headers, or of its body in version 1 of the protocol. All but the first two may be null, and
#: all but those in _NEVER_EMPTY may be empty: some languages write an empty list and an empty object alike.
_FIELDS: Mapping[str, Check] = {
    "id": is_name,
    "task": is_name,
    "root_id": _is_text,
    "parent_id": _is_text,
    "group": _is_text,
    "shadow": _is_text,
    "eta": _is_time,
    "expires": _is_time,
    "retries": _is_count,
    "replaced_task_nesting": _is_count,
    "timelimit": _are_limits,
    "stamped_headers": _is_list,
    "stamps": _is_object,
}

#: Fields of the third part of the body.
_EMBEDDED: Mapping[str, Check] = {
    "callbacks": _are_signatures,
    "errbacks": _are_signatures,
    "chain": _are_signatures,
    "chord": _is_signature,
}

_NEVER_EMPTY = frozenset({"id", "task", "eta", "expires"})


def fault_of(message: Any) -> str | None:
    """Return what is wrong with a message; None if Celery can handle it.

    Raises any error that decoding its body raises.
    """
    body = message.payload
    if "task" in message.headers:
        fields = message.headers
        if not (_is_list(body) and len(body) == 3):
            return "the body does not have the three parts of a task"
        arguments, keywords, embedded = body
    else:
        fields = body
        if not _is_object(body) or "task" not in body:
            return "it is not a task message"
        arguments, keywords, embedded = body.get("args", []), body.get("kwargs", {}), body
    if not _is_list(arguments):
        return "the arguments are not a list"
    if not (_is_object(keywords) and all(map(_is_text, keywords))):
        return "the keyword arguments are not an object"
    if embedded and not _is_object(embedded):
        return "the third part of the body is not an object"
    for name in ("id", "task"):
        if fields.get(name) is None:
            return f"it has no {name}"
    return _fault_in(fields, _FIELDS) or _fault_in(embedded or {}, _EMBEDDED)


def _fault_in(fields: Mapping[str, Any], checks: Mapping[str, Check]) -> str | None:
    for name, is_right in checks.items():
        value = fields.get(name)
        is_left_out = value is None or (not value and name not in _NEVER_EMPTY)
        if not is_left_out and not is_right(value):
            return f"its {name} is {value!r:.100}"
    return None
