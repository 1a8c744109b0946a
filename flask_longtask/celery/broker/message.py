"""Messages as they come out of Redis, those that Kombu cannot read among them. What becomes of these is for the worker.

Whoever can write to a queue can write anything. Kombu raises for what it has not written itself, in the middle of the
worker's event loop, which ends the worker or stops it from taking any other message.
"""

import sys
from typing import Any

from kombu.message import Message as PlainMessage
from kombu.transport import virtual
from kombu.utils.json import loads

from flask_longtask.store.messages import Taken


class Unusable(Exception):
    """What was taken from a queue is no message that Celery writes. The text goes on after "cannot be used: "."""


class Copy(Unusable):
    """It is a copy of a message that this worker holds already."""


def read(taken: Taken) -> dict[str, Any]:
    """The message as Kombu hands it on. One that cannot be read has an `error` instead of a body."""
    payload: Any = None
    error: Exception
    try:
        payload = loads(taken.text)  # type: ignore[no-untyped-call]
        if not taken.tag or payload["properties"]["delivery_tag"] == taken.tag:
            return dict(payload)
        error = Copy("it is a copy") if taken.is_copy else Unusable("it has no delivery tag")
    except Exception as reason:  # decoders of Kombu's own types raise what they like
        error = Unusable(f"it is not what Kombu writes, {reason!r}")
    return {
        "properties": {"delivery_tag": taken.tag},
        "headers": _part(payload, "headers"),
        "error": error,
    }


class Message(virtual.Message):
    """A message as Kombu has it. One that cannot be read is one, too: its consumer finds the reason in `errors`."""

    def __init__(self, payload: Any, channel: Any = None, **options: Any) -> None:
        try:
            if "error" in payload:
                raise payload["error"]
            super().__init__(payload, channel=channel, **options)  # type: ignore[no-untyped-call]
            for name in ("headers", "properties", "delivery_info"):
                if not isinstance(getattr(self, name), dict):
                    raise Unusable(f"its {name} is no object")
        except Exception:  # a missing field, a body in no known encoding, …
            error = sys.exc_info()
            tag = _part(payload, "properties").get("delivery_tag")
            PlainMessage.__init__(  # type: ignore[no-untyped-call]
                self, channel=channel, delivery_tag=tag, headers=_part(payload, "headers")
            )
            self.errors = [error]


def _part(payload: Any, name: str) -> dict[str, Any]:
    part = payload.get(name) if isinstance(payload, dict) else None
    return part if isinstance(part, dict) else {}
