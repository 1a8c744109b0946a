"""The history of a task as clients get it: a pure function of what Redis holds. No I/O lives here.

No stored value makes it raise, and whatever is not an attempt or a line is left out: anybody may have written it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from flask_longtask.record import Record
from flask_longtask.status.sentences import time_of, utc

#: How an attempt may have ended.
OUTCOMES = (
    "succeeded",
    "raised",
    "retry",
    "worker lost",
    "handed back",
    "stalled",
    "cancelled",
)

#: The most attempts that are told: the last ones.
MOST_ATTEMPTS = 20

#: The most characters of an attempt's error, of a line, and of a line's level.
LONGEST_ERROR = 200
LONGEST_LINE = 1000
LONGEST_LEVEL = 20


def outcome_of(state: str) -> str:
    """Return how an attempt has ended that put its task into this state."""
    return {"SUCCESS": "succeeded", "REVOKED": "cancelled", "RETRY": "retry"}.get(state, "raised")


def describe_history(
    record: Record,
    attempts: Sequence[object],
    lines: Sequence[object],
) -> dict[str, list[dict[str, Any]]]:
    """Return the attempts and the lines, oldest first.

    `record` describes the present attempt, `attempts` the earlier ones.
    """
    told = [attempt for stored in attempts if (attempt := _attempt(stored))]
    if present := _attempt(_present(record)):
        told.append(present)
    return {"attempts": told[-MOST_ATTEMPTS:], "lines": list(_lines(lines))}


def _present(record: Record) -> dict[str, Any]:
    attempt = {
        "number": record.get("attempt"),
        "started": record.get("started"),
        "finished": record.get("attempt_ended"),
        "worker": record.get("worker"),
        "outcome": record.get("outcome"),
        "error": record.get("error"),
    }
    if record.get("ended") and not attempt["finished"]:  # by an earlier version
        state = "REVOKED" if record.get("cancelled") else str(record.get("state"))
        attempt |= {"finished": record["ended"], "outcome": outcome_of(state)}
    return attempt


def _attempt(stored: object) -> dict[str, Any] | None:
    if not isinstance(stored, Mapping) or not _is_count(stored.get("number")):
        return None
    worker, outcome, error = (stored.get(name) for name in ("worker", "outcome", "error"))
    return {
        "number": stored["number"],
        "started": utc(time_of(stored.get("started"))),
        "finished": utc(time_of(stored.get("finished"))),
        "worker": worker if isinstance(worker, str) else None,
        "outcome": outcome if outcome in OUTCOMES else None,
        "error": error[:LONGEST_ERROR] if isinstance(error, str) else None,
    }


def _lines(stored: Sequence[object]) -> Iterator[dict[str, Any]]:
    for line in stored:
        if not isinstance(line, list) or len(line) != 5:
            continue
        number, time, level, attempt, text = line
        is_numbered = _is_count(number) and _is_count(attempt)
        if is_numbered and isinstance(level, str) and isinstance(text, str):
            yield {
                "number": number,
                "time": utc(time_of(time)),
                "level": level[:LONGEST_LEVEL],
                "attempt": attempt,
                "text": text[:LONGEST_LINE],
            }


def _is_count(value: object) -> bool:
    return type(value) is int and value > 0
