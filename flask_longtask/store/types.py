"""What goes into the store and comes out of it: plain values, without any I/O."""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple

Record = Mapping[str, Any]


class Stored(NamedTuple):
    """What Redis holds of a task that exists: at least one of the two."""

    document: bytes | None  # Celery's
    record: Record | None  # see tasks.py


class Queue(NamedTuple):
    """Where a message goes: the lists of a queue by priority, and which of them. None where another broker keeps it."""

    name: str
    lists: Sequence[str] = ()
    list_number: int = 0


class Claim(NamedTuple):
    """What an idempotency key stands for. `name` is derived from the key, `body` is a fingerprint of the request."""

    name: str
    body: str


class Accepted(Enum):
    """What came of accepting a task."""

    ACCEPTED = "accepted"
    EARLIER = "earlier"  # the idempotency key or the id stands for tasks that were started earlier
    REUSED = "reused"  # it does, but that request had another body
    BUSY = "busy"  # it does, but that request does not know yet whether they could be sent
    FULL = "full"  # as many tasks wait in the queue as may
    LATE = "late"  # the caller has given up meanwhile
    ENDED = "ended"  # the task was cancelled before its turn; the worker that takes its message sees to the rest


class Acceptance(NamedTuple):
    outcome: Accepted
    task_ids: Sequence[str] = ()  # of EARLIER
    record: Record | None = None  # of ACCEPTED
    ahead: int = 0  # how many tasks of the queue come before it

    @property
    def is_sent(self) -> bool:
        """Whether the task's message was pushed, or is to be sent now."""
        return self.outcome in (Accepted.ACCEPTED, Accepted.ENDED)


class Event(Enum):
    """What happens to a task; see record_event.lua."""

    START = "start"
    REPORT = "report"
    REST = "rest"
    HAND_BACK = "hand_back"
    END = "end"
    CANCEL = "cancel"
    MESSAGE_LOST = "message_lost"


class Outcome(Enum):
    """What came of recording an event."""

    STORED = "stored"
    CANCELLED = "cancelled"  # the task was, and this event is refused
    ENDED = "ended"  # the task had ended otherwise
    SUPERSEDED = "superseded"  # another attempt has the task
    EXHAUSTED = "exhausted"  # its worker was lost too often for it to be started again


class Change(NamedTuple):
    outcome: Outcome
    attempt: int  # the task's present attempt
    lost: int  # how often its worker was lost
    now: float  # when it happened


class Run(NamedTuple):
    """An attempt, as it describes itself with everything it writes. Its number is the fencing token."""

    task: str
    worker: str
    pid: int
    nonce: str  # names it before it has a number
    queue: str | None = None
    tag: str | None = None  # of its message, where this Redis holds that
    attempt: int | None = None  # None before it has started
    started: float | None = None


class Server(NamedTuple):
    """What a Redis says of itself."""

    version: str
    policy: str  # its maxmemory-policy
    max_memory: int  # bytes; 0 for no limit
    is_append_only: bool  # whether it writes the append-only file
    is_replica: bool
    now: float  # seconds since 1970 by its clock
