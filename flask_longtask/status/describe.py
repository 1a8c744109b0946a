"""The status object of a task: a pure function of what Redis holds. No I/O lives here.

`describe` takes two documents, either of which may be empty: `meta`, which Celery stored (`celery-task-meta-<id>`),
and `record`, which the store keeps beside it. It returns the status object of the HTTP contract. No stored value makes
it raise: both documents may come from another program, an older version, or a task that reports nonsense.
"""

import contextlib
import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from flask_longtask.json_text import dumps, loads, pack
from flask_longtask.record import Record
from flask_longtask.status.family import Family
from flask_longtask.status.sentences import (
    PENDING,
    Surroundings,
    additions,
    failure_sentence,
    is_running,
    is_worker_gone,
    number_of,
    retry_sentence,
    revoked_sentence,
    short_name,
    time_of,
    utc,
    waiting_sentence,
)

#: Celery's document of a task.
Document = Mapping[str, Any]

#: The state of a task whose stored document Celery cannot have written.
UNREADABLE = "UNREADABLE"

#: A task in one of these states will not change any more. Celery stores the first three; IGNORED is
#: stored by `task.py` for a task that raised `Ignore`, REJECTED by tasks that set it themselves.
ENDED_STATES = frozenset({"SUCCESS", "FAILURE", "REVOKED", "IGNORED", "REJECTED", UNREADABLE})

#: Shown to clients as PROGRESS: clients of the classic pattern take any state but PROGRESS and PENDING for the end.
_TAKEN_UP = frozenset({"STARTED", "RECEIVED"})

#: The ends after which a task may be started again.
_RESTARTABLE = frozenset({"FAILURE", "REVOKED"})

#: States whose meta is not the task's own report of its progress.
NOT_REPORTED = ENDED_STATES | _TAKEN_UP | {"PENDING", "RETRY"}

#: The most characters of a status sentence.
LONGEST_MESSAGE = 1000

#: What a report has of its progress; anything else in it is passed on as it is.
_PROGRESS_KEYS = frozenset({"current", "total", "status"})

#: The most bytes of JSON of what a task reports besides its progress.
MOST_META_BYTES = 16_000


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
            current, total = number_of(current), number_of(total)
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


def is_open(meta: Document, record: Record) -> bool:
    """Whether the task or, of a family, any of its parts may still change."""
    if family := Family.of(record):
        return family.end is None
    return meta.get("status") not in ENDED_STATES and not record.get("ended")


def waits_in(meta: Document, record: Record) -> str | None:
    """Return the queue in which the task waits to be taken up; None if it does not wait."""
    if is_running(record) or not is_open(meta, record):
        return None
    return record.get("queue") or None


def describe(
    task_id: str, meta: Document, record: Record, around: Surroundings | None = None
) -> dict[str, Any]:
    """Return the status object of a task that exists: at least one of `meta` and `record` is not empty.

    `around` matters only for a task that has not ended. If the record is that of a family, so is the status.
    """
    status = describe_alone(task_id, meta, record, around)
    family = Family.of(record)
    return {**status, **_describe_family(family, status, around)} if family else status


def _describe_family(
    family: Family, own: dict[str, Any], around: Surroundings | None
) -> dict[str, Any]:
    """Return the fields in which the status of a family differs from that of the task with the same id, if any."""
    is_done = family.end == "SUCCESS"
    progress = Progress(family.current, family.total)
    parts = family.fields
    started, reported = parts.get("started"), parts.get("reported")
    # With the queue and the time for which its parts wait.
    waiting = waiting_sentence(parts.get("eta"), parts.get("queue"), around)
    is_deserted = around is not None and around.workers is not None and not around.workers
    runs = family.counts["running"] and not is_deserted
    return {
        "state": family.state,
        "current": progress.current,
        "total": progress.total,
        "status": family.sentence(waiting, is_deserted)[:LONGEST_MESSAGE],
        "result": own["result"] if is_done else None,
        "task": short_name(family.name) or own["task"],
        "percent": 100 if is_done else progress.percent,
        "started": utc(started),
        "reported": utc(reported),
        "finished": utc(parts.get("ended")) if family.end else None,
        "eta": _seconds_left(progress, around, started, reported) if runs else None,
        "attempt": None,
        "parts": family.counts,
    }


def describe_alone(
    task_id: str, meta: Document, record: Record, around: Surroundings | None = None
) -> dict[str, Any]:
    """Return the status object of a task itself, even if it has the id of a family."""
    state = _state(meta, record)
    info = meta.get("result")
    progress: Progress | None
    result: object = None
    percent: int | None = None

    if state not in NOT_REPORTED:
        progress = Progress.of(info)
        message = progress.message
    elif state == "PENDING":
        progress, message = _resumed(record) or Progress.of(info), _waiting(record, around)
    elif state in _TAKEN_UP:
        state, progress, message = "PROGRESS", _resumed(record) or Progress(), "Started"
    elif state == "SUCCESS":
        progress, message, result = _success(
            _without_result(record) or info, _last_progress(record)
        )
        percent = 100
    elif state == "RETRY":
        progress, message = _last_progress(record) or Progress(), retry_sentence(info, record)
    elif state == "FAILURE":
        progress, message = (
            _last_progress(record) or _reported_by_hand(info),
            failure_sentence(info, record),
        )
        if progress is None:
            progress, percent = Progress(1, 1), 0  # 1/1 as in the tutorial, but never a full bar
    elif state == "REVOKED":
        progress, message = _last_progress(record) or Progress(), revoked_sentence(info, record)
    elif state == UNREADABLE:
        progress, message = (
            _last_progress(record) or Progress(),
            "The stored data of this task cannot be read",
        )
    else:
        progress, message = _last_progress(record) or Progress(), state.capitalize()
    ended = state in ENDED_STATES
    is_run = not ended and state != "PENDING"
    started, reported = record.get("started"), record.get("reported")
    if not ended and is_running(record):
        is_gone = is_worker_gone(record, around)
        is_run = not is_gone
        if added := additions(record, around, is_gone):
            message = message[: LONGEST_MESSAGE - len(added)] + added
    status = {
        "state": state,
        "current": progress.current,
        "total": progress.total,
        "status": message[:LONGEST_MESSAGE],
        "result": result,
        "task_id": task_id,
        "task": short_name(record.get("task")) or short_name(meta.get("name")),
        "percent": progress.percent if percent is None else percent,
        "submitted": utc(record.get("submitted")),
        "started": utc(started),
        "reported": utc(reported),
        "finished": utc(record.get("ended") or time_of(meta.get("date_done"))) if ended else None,
        "eta": _seconds_left(
            progress, around, record.get("resumed_at", started), reported, record.get("resumed", 0)
        )
        if is_run
        else None,
        "attempt": record.get("attempt", 0) if record else None,
        "meta": _meta(state, info, record),
        "parts": None,
    }
    if earlier := record.get("restart_of"):
        status["restart_of"] = earlier
    if state in _RESTARTABLE and record.get("restartable") and not record.get("family"):
        status["restartable"] = True
    if state == "SUCCESS" and (size := record.get("result_bytes")):
        return {**status, "result": None, "result_bytes": size}
    return status


def describe_part(
    task_id: str, meta: Document, record: Record, around: Surroundings | None = None
) -> dict[str, Any]:
    """Return the status object of a task itself, with its number in its family, or None if it is in none."""
    number = record.get("part")
    return {**describe_alone(task_id, meta, record, around), "part": number}


def final_report(result: object) -> str:
    """Return what a task returned besides its result. The record keeps this if the result is large."""
    if not isinstance(result, Mapping):
        return "{}"
    report = {
        name: result[name]
        for name in ("current", "total")
        if number_of(result.get(name)) is not None
    }
    return dumps({**report, "status": Progress.of(result).message}).decode()


def extras(meta: object) -> bytes:
    """Return what a report has besides the progress, as JSON; empty if it has nothing else."""
    if not isinstance(meta, Mapping) or meta.keys() <= _PROGRESS_KEYS:
        return b""
    return pack({name: value for name, value in meta.items() if name not in _PROGRESS_KEYS})


def _waiting(record: Record, around: Surroundings | None) -> str:
    sentence = waiting_sentence(record.get("eta"), record.get("queue"), around)
    is_again = sentence == PENDING and around is not None and record.get("attempt")
    return "Waiting to be started again" if is_again else sentence


def _meta(state: str, info: object, record: Record) -> dict[str, Any] | None:
    """Return what the last report had besides the progress, or None."""
    text = record.get("meta")
    if not record.get("reported") and state not in NOT_REPORTED:
        text = extras(info).decode()  # reported by a worker without this extension
    if not text or len(text) > MOST_META_BYTES:
        return None
    with contextlib.suppress(ValueError, RecursionError):
        meta = loads(text)
        return meta if isinstance(meta, dict) and meta else None
    return None


def _without_result(record: Record) -> Document | None:
    """Return what `final_report` kept of the returned value; None if the result is not large."""
    if not record.get("result_bytes"):
        return None
    with contextlib.suppress(ValueError, TypeError, RecursionError):
        report = json.loads(record.get("final", ""))
        return {**report, "result": None} if isinstance(report, dict) else {"result": None}
    return {"result": None}


def _last_progress(record: Record) -> Progress | None:
    """Return the last progress that the task reported. Celery's document loses it when the task stops running."""
    return Progress.load(record.get("progress"))


def _resumed(record: Record) -> Progress | None:
    """Return the progress from which the next attempt goes on, if the task has kept a checkpoint."""
    return _last_progress(record) if record.get("checkpoint") else None


def _state(meta: Document, record: Record) -> str:
    """Return Celery's state of the task, or the state from our record if Celery has stored none."""
    state = meta.get("status", "PENDING")
    if not isinstance(state, str) or not state:
        return UNREADABLE
    if state == "PENDING" and record.get("ended"):
        return "REVOKED" if record.get("cancelled") else record.get("state") or "FAILURE"
    if state == "PENDING" and is_running(record):
        return "STARTED"
    if state == "PENDING" and record.get("retries") and record.get("eta"):
        return "RETRY"
    return state


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


def _seconds_left(
    progress: Progress,
    around: Surroundings | None,
    since: float | None,
    reported: float | None,
    resumed: float = 0,
) -> float | None:
    """Return the seconds left by the rate up to the last report; None once they have passed without another one.

    `since` is when the work began of which `resumed` was done before: that took this attempt no time.
    """
    share = progress.current / progress.total
    done = share - resumed
    if since is None or around is None or done <= 0:
        return None
    if reported is None or not since <= reported <= around.now:
        reported = around.now
    left = (reported - since) * (1 - share) / done - (around.now - reported)
    return round(left, 1) if 0 <= left < math.inf else None
