"""The sentences of the status object, in words for a person, and how the stored values in them are read. No I/O.

No stored value makes a function here raise: see describe.py.
"""

import builtins
import contextlib
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from flask_longtask.record import Record

#: Of a task that waits for no particular reason, as in the tutorial.
PENDING = "Pending..."

#: Of a task of which it is unknown whether its message was sent. No worker runs it.
UNSENT = "It could not be queued"

#: Of a task that was to follow another, which failed. The page shows its first words as the word for its state.
NOT_STARTED = "Not started, because an earlier task failed"

#: Seconds after which the sentence of a task that had been reporting says that nothing new has come.
SILENT_AFTER = 60


class Surroundings(NamedTuple):
    """What the status of an open task depends on besides its two documents."""

    #: Seconds since 1970, by Redis's clock.
    now: float
    #: The living workers; None while there may be others that have not reported yet.
    workers: frozenset[str] | None = None
    #: The queues that the living workers serve.
    served: frozenset[str] = frozenset()
    #: How many tasks are ahead of this one in its queue; None if it does not wait in a queue.
    ahead: int | None = None
    #: When the workers were last read, which may be a moment ago.
    read_at: float = math.inf


def number_of(value: object) -> int | float | None:
    """Return the value if it is a finite number, else None. A bool is not a number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if isinstance(value, int) or math.isfinite(value) else None


def count_of(value: object) -> int:
    return value if type(value) is int and value >= 0 else 0


def text_of(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def short_name(name: object) -> str | None:
    """Return the short name of a task: what follows the last dot."""
    text = text_of(name)
    return text and text.rpartition(".")[2]


def time_of(value: object) -> float | None:
    """Return seconds since 1970 from such a number, or from an ISO 8601 string as Celery stores it."""
    try:
        if isinstance(value, str):
            time = datetime.fromisoformat(value)
            return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
        seconds = number_of(value)
        return seconds if seconds is None else float(seconds)
    except (ValueError, OverflowError):  # such as the year 1 in a zone east of UTC
        return None


@lru_cache(maxsize=4096)  # a page asks for the same times again and again
def utc(seconds: float | None) -> str | None:
    """Return a time in ISO 8601; None if there is none."""
    if seconds is None:
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat()
    except (ValueError, OverflowError, OSError):  # beyond the year 9999
        return None


def _clock(seconds: float) -> str:
    """Format a time for a sentence. The page finds this form and shows it in the reader's time zone."""
    return (utc(int(seconds)) or "later").replace("+00:00", "Z")


def is_running(record: Record) -> bool:
    """Whether the record says that an attempt is running. An attempt that has sent its task again is over."""
    return bool(record.get("running") and not record.get("resent"))


def waiting_sentence(due: float | None, queue: str | None, around: Surroundings | None) -> str:
    """Return what a task waits for: until it is due, for a worker that serves its queue, or for other tasks."""
    if around is None:
        return PENDING
    if due and due > around.now:
        return f"Scheduled for {_clock(due)}"
    if queue and around.workers is not None and queue not in around.served:
        return _no_worker(queue, around)
    if around.ahead:
        return f"Waiting: {around.ahead:,} {'task' if around.ahead == 1 else 'tasks'} ahead"
    return PENDING


def _no_worker(queue: str, around: Surroundings) -> str:
    if around.served:
        return f"Waiting: no worker serves the queue {queue}"
    return "Waiting: no worker is running"


def is_worker_gone(record: Record, around: Surroundings | None) -> bool:
    """Whether the worker of a task that is recorded as running is dead."""
    if around is None or around.workers is None:
        return False
    # A worker that has just started may not be among those that were read a moment before.
    return (
        record.get("worker") not in around.workers
        and max(record.get("started", 0), record.get("reported", 0)) < around.read_at
    )


def additions(record: Record, around: Surroundings | None, is_gone: bool) -> str:
    """Return what the sentence of a running task has in parentheses at its end; the page translates each."""
    added = " (its worker was lost; it will be started again)" if is_gone else _again(record)
    return added if around is None else added + _beyond(record, around)


def _beyond(record: Record, around: Surroundings) -> str:
    """Return the additions about a task that takes longer than it may, or is silent for longer."""
    started, reported = record.get("started", 0), record.get("reported", 0)
    heard, added = max(started, reported), ""
    limit = record.get("time_limit")
    if limit and started and around.now > started + limit:
        added = f" (over its time limit of {limit:g} s, but its worker cannot stop it)"
    silent = around.now - reported
    is_alive = record.get("worker") in (around.workers or ())
    if reported and reported >= started and silent >= SILENT_AFTER and is_alive:
        hours, minutes = divmod(int(silent // 60), 60)
        added += f" (nothing new for {f'{hours:,} h ' if hours else ''}{minutes} min)"
    limit = record.get("stall_seconds")
    if limit and heard and around.now > heard + limit:
        added += f" (silent for more than {limit:g} s, but its worker cannot stop it)"
    return added


def _again(record: Record) -> str:
    """Return an addition to the sentence of a task that was started again."""
    lost, stalled = record.get("lost", 0), record.get("stalled")
    if stalled:
        also = " and its worker was lost" if lost > stalled else ""
        return f" (started again after it stalled{also})"
    return " (started again after its worker was lost)" if lost else ""


def retry_sentence(info: object, record: Record) -> str:
    sentence = error_text(info) if info else "Waiting to try again"
    retries, limit, due = record.get("retries"), record.get("max_retries"), record.get("eta")
    if retries:
        sentence += f" (retry {retries}" + (f" of {limit}" if limit is not None else "")
        sentence += f" at {_clock(due)})" if due else ")"
    return sentence


def revoked_sentence(info: object, record: Record) -> str:
    # Celery stores "expired" for a task whose `expires` passed before it was started.
    if isinstance(info, Mapping) and info.get("exc_message") in ("expired", ["expired"]):
        return "Expired before it was started"
    if record.get("running") and record.get("unstoppable"):
        return "Cancelled. Its worker cannot stop a running task, so it runs to its end."
    return "Cancelled"


def failure_sentence(info: object, record: Record) -> str:
    if record.get("unsent"):
        return UNSENT
    was_never_sent = record.get("submitted") and not (record.get("nonce") or record.get("attempt"))
    return NOT_STARTED if was_never_sent else error_text(info)


def error_text(info: object) -> str:
    """Return the text of a stored exception, whose class need not exist in this process.

    Celery itself looks the class up and calls it to get an exception object, and raises for a FAILURE that a
    task stored by hand: the classic 500 of a status route.
    """
    if not isinstance(info, Mapping):
        return str(info) if info not in (None, "") else "Failed"
    if "exc_type" not in info:
        return text_of(info.get("status")) or text_of(info.get("exc_message")) or "Failed"
    name, arguments = str(info["exc_type"]), info.get("exc_message")
    arguments = arguments if isinstance(arguments, list | tuple) else [arguments]
    if name == "UnpickleableExceptionWrapper" and len(arguments) > 2:
        # Celery wraps an exception that cannot be pickled: module, class name, arguments and text.
        _, name, arguments, *_ = arguments
        arguments = arguments if isinstance(arguments, list | tuple) else [arguments]
    if name == "Reject":  # celery.exceptions.Reject(reason, requeue)
        return f"Rejected: {arguments[0]}" if arguments and arguments[0] else "Rejected"
    if name == "NotRegistered" and arguments:  # raised by Celery, with the name of the task
        return f"The worker that received it has no task named {arguments[0]}"
    if len(arguments) == 1 and isinstance(arguments[0], str) and name != "KeyError":
        return arguments[0] or name
    builtin = getattr(builtins, name, None) if info.get("exc_module") == "builtins" else None
    if isinstance(builtin, type) and issubclass(builtin, Exception):
        with contextlib.suppress(Exception):  # arguments that this class does not accept
            return str(builtin(*arguments)) or name  # "[Errno 2] No such file or directory: 'x'"
    text = ", ".join(str(argument) for argument in arguments if argument not in (None, ""))
    return f"{name}: {text}" if text else name
