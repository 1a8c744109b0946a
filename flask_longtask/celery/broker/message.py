"""Reads messages from Redis, including those that Kombu cannot read. The worker decides what to do with these.

Anyone who can write to a queue can write anything. For a message that Kombu has not written, it raises an error in the
middle of the worker's event loop, which ends the worker or stops it from taking any other message.
"""

import sys
from typing import Any

from kombu.message import Message as PlainMessage
from kombu.transport import virtual
from kombu.utils.json import loads

from flask_longtask.store.messages import Taken


class Unusable(Exception):
    """A message from a queue is not one that Celery writes. Its text completes "Its message cannot be used: "."""


class Copy(Unusable):
    """A message is a copy of one that this worker already holds."""


def read(taken: Taken) -> dict[str, Any]:
    """Return the message in Kombu's form. One that cannot be read has an `error` instead of a body."""
    payload: Any = None
    error: Exception
    try:
        payload = loads(taken.text)  # type: ignore[no-untyped-call]
        if not taken.tag or payload["properties"]["delivery_tag"] == taken.tag:
            return dict(payload)
        error = Copy("it is a copy") if taken.is_copy else Unusable("it has no delivery tag")
    except Exception as reason:  # Kombu's decoders raise errors of any type
        error = Unusable(f"it was not written by Kombu, {reason!r}")
    return {
        "properties": {"delivery_tag": taken.tag},
        "headers": _part(payload, "headers"),
        "error": error,
    }


class Message(virtual.Message):
    """Kombu's message. If it cannot be read, it keeps the reason in `errors`, for its consumer."""

    def __init__(self, payload: Any, channel: Any = None, **options: Any) -> None:
        try:
            if "error" in payload:
                raise payload["error"]
            super().__init__(payload, channel=channel, **options)  # type: ignore[no-untyped-call]
            for name in ("headers", "properties", "delivery_info"):
                if not isinstance(getattr(self, name), dict):
                    raise Unusable(f"its {name} field is not an object")
        except Exception:  # a missing field, a body in an unknown encoding, …
            error = sys.exc_info()
            tag = _part(payload, "properties").get("delivery_tag")
            PlainMessage.__init__(  # type: ignore[no-untyped-call]
                self, channel=channel, delivery_tag=tag, headers=_part(payload, "headers")
            )
            self.errors = [error]


def _part(payload: Any, name: str) -> dict[str, Any]:
    part = payload.get(name) if isinstance(payload, dict) else None
    return part if isinstance(part, dict) else {}
