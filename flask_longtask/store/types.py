"""What goes into the store and comes out of it: plain values, without any I/O."""

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from flask_longtask.record import Record


class Stored(NamedTuple):
    """What Redis holds of a task that exists: at least one of the two."""

    document: bytes | None  # Celery's
    record: Record | None  # see tasks.py


class Queue(NamedTuple):
    """Where a message goes: a queue, its lists by priority, and the number of the list. Other brokers have no lists."""

    name: str
    lists: Sequence[str] = ()
    list_number: int = 0


class Claim(NamedTuple):
    """What an idempotency key stands for. `name` is derived from the key, `body` is a fingerprint of the request."""

    name: str
    body: str


class Accepted(Enum):
    """The outcome of accepting a task."""

    ACCEPTED = "accepted"
    EARLIER = "earlier"  # the idempotency key or the id belongs to tasks that were started earlier
    REUSED = "reused"  # the idempotency key belongs to an earlier request with another body
    BUSY = "busy"  # the tasks of the earlier request with this key are still being sent
    FULL = "full"  # the queue is full
    LATE = "late"  # the caller has given up meanwhile
    ENDED = "ended"  # the task was cancelled before its turn; the worker that takes its message does the rest


class Acceptance(NamedTuple):
    outcome: Accepted
    task_ids: Sequence[str] = ()  # of EARLIER
    record: Record | None = None  # of ACCEPTED
    ahead: int = 0  # how many tasks of the queue are ahead of it

    @property
    def is_sent(self) -> bool:
        """Whether the task's message was pushed, or is to be sent now."""
        return self.outcome in (Accepted.ACCEPTED, Accepted.ENDED)


class Event(Enum):
    """What happens to a task; see record_event.lua."""

    START = "start"
    REPORT = "report"
    CHECKPOINT = "checkpoint"
    REST = "rest"
    HAND_BACK = "hand_back"
    STALL = "stall"
    END = "end"
    CANCEL = "cancel"
    MESSAGE_LOST = "message_lost"


class Outcome(Enum):
    """The outcome of recording an event. All but STORED mean that the event is refused."""

    STORED = "stored"
    CANCELLED = "cancelled"  # the task was cancelled
    ENDED = "ended"  # the task had ended otherwise
    SUPERSEDED = "superseded"  # another attempt has the task
    EXHAUSTED = "exhausted"  # the task's worker was lost too often for it to be started again


class Change(NamedTuple):
    outcome: Outcome
    attempt: int  # the task's present attempt
    lost: int  # how often its worker was lost
    stalled: int  # how often of these the task had stalled
    now: float  # when it happened
    checkpoint: bytes | None = None  # of a start: what an earlier attempt has kept, as JSON


class Run(NamedTuple):
    """An attempt's description of itself, which comes with everything it writes. Its number is the fencing token."""

    task: str
    worker: str
    pid: int
    nonce: str  # identifies the attempt before it has a number
    queue: str | None = None
    tag: str | None = None  # the delivery tag of its message, if this Redis keeps the message
    attempt: int | None = None  # None before it has started
    started: float | None = None


class Stall(NamedTuple):
    """What makes an attempt one that has stalled. It is no stall if the attempt has said anything in time."""

    attempt: int
    stall_seconds: float  # for how long it may be silent
    since: float  # its worker has watched it since then, by Redis's clock and without an outage


class Server(NamedTuple):
    """What a Redis reports about itself."""

    version: str
    policy: str  # its maxmemory-policy
    max_memory: int  # bytes; 0 for no limit
    is_append_only: bool  # whether it writes the append-only file
    is_replica: bool
    now: float  # seconds since 1970 by its clock
