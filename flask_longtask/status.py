"""The status object of a task: a pure function of what Redis holds. No I/O lives here.

`describe` takes two documents, either of which may be empty: `meta`, which Celery stored (`celery-task-meta-<id>`),
and `record`, which the store keeps beside it. It returns the status object of the HTTP contract. No stored value makes
it raise: both documents may come from another program, an older version, or a task that reports nonsense.
"""

import builtins
import contextlib
import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

from flask_longtask.json_text import dumps

#: The state of a task whose stored document Celery cannot have written.
UNREADABLE = "UNREADABLE"

#: A task in one of these states will not change any more. Celery stores the first three; IGNORED is
#: stored by `task.py` for a task that raised `Ignore`, REJECTED by tasks that set it themselves.
ENDED_STATES = frozenset({"SUCCESS", "FAILURE", "REVOKED", "IGNORED", "REJECTED", UNREADABLE})

#: Shown to clients as PROGRESS: clients of the classic pattern take any state but PROGRESS and PENDING for the end.
_TAKEN_UP = frozenset({"STARTED", "RECEIVED"})

#: States whose meta is not the task's own report of its progress.
NOT_REPORTED = ENDED_STATES | _TAKEN_UP | {"PENDING", "RETRY"}

#: The most characters of a status sentence.
LONGEST_MESSAGE = 1000

Document = Mapping[str, Any]


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


class Progress(NamedTuple):
    """The progress of a task: `0 <= current <= total`, `total > 0`, and a sentence for a person."""

    current: int | float = 0
    total: int | float = 1
    message: str = ""

    @property
    def percent(self) -> int:
        """The whole percentage, rounded down and at most 99: only SUCCESS is 100."""
        if isinstance(self.current, int) and isinstance(self.total, int):
            return min(99, self.current * 100 // self.total)
        return min(99, int(self.current / self.total * 100))

    @classmethod
    def of(cls, meta: object) -> "Progress":
        """Read the progress from any meta that a task passed to `update_state`."""
        # Checked first, since it is a dict in most cases and the other checks are slower.
        if not isinstance(meta, dict):
            if isinstance(meta, str):
                return cls(message=meta[:LONGEST_MESSAGE])
            if not isinstance(meta, Mapping):
                return cls()
        message = meta.get("status")
        message = message[:LONGEST_MESSAGE] if isinstance(message, str) else ""
        current, total = meta.get("current", 0), meta.get("total", 1)
        if not (type(current) is type(total) is int):
            current, total = _number(current), _number(total)
            if current is None or total is None:
                return cls(message=message)
            if isinstance(current, float) or isinstance(total, float):
                try:
                    current, total = float(current), float(total)
                except OverflowError:  # an integer beyond every float
                    return cls(message=message)
        if total <= 0:
            return cls(message=message)
        return cls(max(0, min(current, total)), total, message)

    def dump(self) -> str:
        """Return the text that `load` reads; the record keeps it as the task's last progress."""
        return dumps(self).decode()

    @classmethod
    def load(cls, text: object) -> "Progress | None":
        if not isinstance(text, str):
            return None
        try:
            current, total, message = json.loads(text)
        except (ValueError, TypeError, RecursionError):
            return None
        return cls.of({"current": current, "total": total, "status": message})


def is_open(meta: Document, record: Document) -> bool:
    """Whether the task may still change."""
    return meta.get("status") not in ENDED_STATES and not record.get("ended")


def waits_in(meta: Document, record: Document) -> str | None:
    """Return the queue in which the task waits to be taken up; None if it does not wait."""
    if _is_running(record) or not is_open(meta, record):
        return None
    return _text(record.get("queue"))


def describe(
    task_id: str, meta: Document, record: Document, around: Surroundings | None = None
) -> dict[str, Any]:
    """Return the status object of a task that exists: at least one of `meta` and `record` is not empty.

    `around` matters only for a task that has not ended.
    """
    state = _state(meta, record)
    info = meta.get("result")
    progress: Progress | None
    result: object = None
    percent: int | None = None

    if state not in NOT_REPORTED:
        progress = Progress.of(info)
        message = progress.message
    elif state == "PENDING":
        progress, message = Progress.of(info), _waiting(record, around)
    elif state in _TAKEN_UP:
        state, progress, message = "PROGRESS", Progress(), "Started"
    elif state == "SUCCESS":
        progress, message, result = _success(
            _without_result(record) or info, _last_progress(record)
        )
        percent = 100
    elif state == "RETRY":
        progress, message = _last_progress(record) or Progress(), _retry(info, record)
    elif state == "FAILURE":
        progress, message = (
            _last_progress(record) or _reported_by_hand(info),
            _failure(info, record),
        )
        if progress is None:
            progress, percent = Progress(1, 1), 0  # 1/1 as in the tutorial, but never a full bar
    elif state == "REVOKED":
        progress, message = _last_progress(record) or Progress(), _revoked(info, record)
    elif state == UNREADABLE:
        progress, message = (
            _last_progress(record) or Progress(),
            "The stored data of this task cannot be read",
        )
    else:
        progress, message = _last_progress(record) or Progress(), state.capitalize()
    ended = state in ENDED_STATES
    is_run = not ended and state != "PENDING"
    started = _time(record.get("started"))
    if not ended and _is_running(record):
        is_run = not _is_worker_gone(record, around)
        if not is_run:
            message += " (its worker was lost; it will be started again)"
        elif record.get("lost"):
            message += " (started again after its worker was lost)"
        message += _over_time(record, started, around)
    task = _text(record.get("task")) or _text(meta.get("name"))
    status = {
        "state": state,
        "current": progress.current,
        "total": progress.total,
        "status": message[:LONGEST_MESSAGE],
        "result": result,
        "task_id": task_id,
        "task": task and task.rpartition(".")[2],
        "percent": progress.percent if percent is None else percent,
        "submitted": _utc(record.get("submitted")),
        "started": _utc(started),
        "finished": _utc(record.get("ended")) or _utc(meta.get("date_done")) if ended else None,
        "eta": _seconds_left(progress, started, around) if is_run else None,
        "attempt": _count(record.get("attempt")) if record else None,
    }
    if state == "SUCCESS" and (size := _count(record.get("result_bytes"))):
        return {**status, "result": None, "result_bytes": size}
    return status


def final_report(result: object) -> str:
    """Return what a task returned besides its result. The record keeps this if the result is large."""
    if not isinstance(result, Mapping):
        return "{}"
    report = {
        name: result[name] for name in ("current", "total") if _number(result.get(name)) is not None
    }
    return dumps({**report, "status": Progress.of(result).message}).decode()


def _without_result(record: Document) -> Document | None:
    """Return what `final_report` kept of the returned value; None if the result is not large."""
    if not record.get("result_bytes"):
        return None
    with contextlib.suppress(ValueError, TypeError, RecursionError):
        report = json.loads(record.get("final", ""))
        return {**report, "result": None} if isinstance(report, dict) else {"result": None}
    return {"result": None}


def _last_progress(record: Document) -> Progress | None:
    """Return the last progress that the task reported. Celery's document loses it when the task stops running."""
    return Progress.load(record.get("progress"))


def _number(value: object) -> int | float | None:
    """Return the value if it is a finite number, else None. A bool is not a number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if isinstance(value, int) or math.isfinite(value) else None


def _count(value: object) -> int:
    return value if type(value) is int and value >= 0 else 0


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _time(value: object) -> float | None:
    """Return seconds since 1970 from such a number, or from an ISO 8601 string as Celery stores it."""
    if type(value) is float and math.isfinite(value):  # as this extension writes all times
        return value
    try:
        if isinstance(value, str):
            time = datetime.fromisoformat(value)
            return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
        seconds = _number(value)
        return seconds if seconds is None else float(seconds)
    except (ValueError, OverflowError):  # such as the year 1 in a zone east of UTC
        return None


def _utc(value: object) -> str | None:
    seconds = _time(value)
    return None if seconds is None else _iso_8601(seconds)


@lru_cache(maxsize=4096)  # a page asks for the same times again and again
def _iso_8601(seconds: float) -> str | None:
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat()
    except (ValueError, OverflowError, OSError):  # beyond the year 9999
        return None


def _clock(seconds: float) -> str:
    """Format a time for a sentence. The page finds this form and shows it in the reader's time zone."""
    return (_utc(int(seconds)) or "later").replace("+00:00", "Z")


def _state(meta: Document, record: Document) -> str:
    """Return Celery's state of the task, or the state from our record if Celery has stored none."""
    state = meta.get("status", "PENDING")
    if not isinstance(state, str) or not state:
        return UNREADABLE
    if state == "PENDING" and record.get("ended"):
        return "REVOKED" if record.get("cancelled") else _text(record.get("state")) or "FAILURE"
    if state == "PENDING" and _is_running(record):
        return "STARTED"
    if state == "PENDING" and record.get("retries") and record.get("eta"):
        return "RETRY"
    return state


def _is_running(record: Document) -> bool:
    """Whether the record says that an attempt is running. An attempt that has sent its task again is over."""
    return bool(record.get("running") and not record.get("resent"))


def _waiting(record: Document, around: Surroundings | None) -> str:
    due, queue = _time(record.get("eta")), _text(record.get("queue"))
    if around is None:
        return "Pending..."
    if due and due > around.now:
        return f"Scheduled for {_clock(due)}"
    if queue and around.workers is not None and queue not in around.served:
        return _no_worker(queue, around)
    if around.ahead:
        return f"Waiting: {around.ahead:,} {'task' if around.ahead == 1 else 'tasks'} ahead"
    return "Waiting to be started again" if record.get("attempt") else "Pending..."


def _no_worker(queue: str, around: Surroundings) -> str:
    if around.served:
        return f"Waiting: no worker serves the queue {queue}"
    return "Waiting: no worker is running"


def _is_worker_gone(record: Document, around: Surroundings | None) -> bool:
    """Whether the worker of a task that is recorded as running is dead."""
    if around is None or around.workers is None:
        return False
    # A worker that has just started may not be among those that were read a moment before.
    last_sign = _time(record.get("reported")) or _time(record.get("started")) or 0
    return last_sign < around.read_at and _text(record.get("worker")) not in around.workers


def _over_time(record: Document, started: float | None, around: Surroundings | None) -> str:
    """Return an addition to the sentence of a task that is over a time limit which its pool cannot enforce."""
    limit = "time_limit" in record and _number(record["time_limit"])
    if not limit or started is None or around is None or around.now <= started + limit:
        return ""
    return f" (over its time limit of {limit:g} s, which this pool cannot enforce)"


def _success(info: object, last: Progress | None) -> tuple[Progress, str, object]:
    total = last.total if last else 1
    progress = Progress(total, total)
    if not isinstance(info, Mapping):
        return progress, "Task completed!", info
    own = Progress.of(info)
    if "current" in info or "total" in info:
        progress = own
    return progress, own.message or "Task completed!", info.get("result", info)


def _reported_by_hand(info: object) -> Progress | None:
    """Return the progress in a FAILURE that a task stored itself with `update_state`."""
    return Progress.of(info) if isinstance(info, Mapping) and "current" in info else None


def _retry(info: object, record: Document) -> str:
    sentence = _error_text(info) if info else "Waiting to try again"
    retries, limit, due = record.get("retries"), record.get("max_retries"), _time(record.get("eta"))
    if retries:
        sentence += f" (retry {retries}" + (f" of {limit}" if limit is not None else "")
        sentence += f" at {_clock(due)})" if due else ")"
    return sentence


def _revoked(info: object, record: Document) -> str:
    # Celery stores "expired" for a task whose `expires` passed before it was started.
    if isinstance(info, Mapping) and info.get("exc_message") in ("expired", ["expired"]):
        return "Expired before it was started"
    if record.get("running") and record.get("unstoppable"):
        return "Cancelled. This pool cannot stop a running task: it runs to its end."
    return "Cancelled"


def _failure(info: object, record: Document) -> str:
    return "It could not be queued" if record.get("unsent") else _error_text(info)


def _error_text(info: object) -> str:
    """Return the text of a stored exception, whose class need not exist in this process.

    Celery itself looks the class up and calls it to get an exception object, and raises for a FAILURE that a
    task stored by hand: the classic 500 of a status route.
    """
    if not isinstance(info, Mapping):
        return str(info) if info not in (None, "") else "Failed"
    if "exc_type" not in info:
        return Progress.of(info).message or _text(info.get("exc_message")) or "Failed"
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


def _seconds_left(
    progress: Progress, started: float | None, around: Surroundings | None
) -> float | None:
    share = progress.current / progress.total
    if started is None or around is None or share <= 0:
        return None
    left = (around.now - started) * (1 - share) / share
    return round(left, 1) if 0 <= left < math.inf else None
