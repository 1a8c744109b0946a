"""What clients were told of each task, in order, and whether a bar ever went back. Pure values, no requests."""

from bisect import bisect_left
from collections import defaultdict
from threading import Lock
from typing import Any, NamedTuple

#: The fields of a status that are kept.
FIELDS = ("state", "current", "total", "percent", "status", "attempt", "finished")

Status = dict[str, Any]


class Sight(NamedTuple):
    """What one answer said of a task; `status` is None where it did not exist."""

    sent: float
    received: float
    status: Status | None


def goes_back(before: Status, after: Status) -> str:
    """What is wrong with `after`, if it was true later than `before`; "" if nothing is."""
    if before["finished"]:
        for part in ("state", "finished"):
            if after[part] != before[part]:
                return f"it had ended: {part} {before[part]!r} became {after[part]!r}"
        return ""
    first, then = before["attempt"] or 0, after["attempt"] or 0
    if then < first:
        return f"attempt {first} became {then}"
    # What waits has no bar: its attempt is over.
    waits = "PENDING" in (before["state"], after["state"])
    if then == first and not waits and after["current"] < before["current"]:
        return f"current {before['current']} became {after['current']} in attempt {then}"
    return ""


def _how_far(status: Status) -> tuple[bool, int, float]:
    current = -1 if status["state"] == "PENDING" else status["current"]
    return bool(status["finished"]), status["attempt"] or 0, current


class Bars:
    """All sights of all tasks. Several clients add theirs at the same time."""

    def __init__(self) -> None:
        self._lock = Lock()
        #: What was told first of each that was further than all before it, in the order of receipt.
        self._furthest: dict[str, list[Sight]] = defaultdict(list)
        self._last: dict[str, Sight] = {}
        #: All that was told of a task, without what was told already.
        self.history: dict[str, list[Sight]] = defaultdict(list)
        #: By task, when it was told to have ended.
        self.ended: dict[str, float] = {}
        #: Task, when, and what was wrong.
        self.complaints: list[tuple[str, float, str]] = []
        #: When a task was told not to exist.
        self.gone: dict[str, list[float]] = defaultdict(list)

    def see(self, task_id: str, sight: Sight, previous: Status | None = None) -> None:
        """Note a sight. `previous` is what the same stream said before."""
        status = sight.status and {name: sight.status.get(name) for name in FIELDS}
        sight = sight._replace(status=status)
        with self._lock:
            if status is None:
                self.gone[task_id].append(sight.received)
            else:
                # Only what was told before this was asked was true before it.
                furthest = self._furthest[task_id]
                known = bisect_left(furthest, sight.sent, key=lambda one: one.received)
                befores = [one.status for one in (*furthest[known - 1 : known],) if one.status]
                befores += [previous] if previous else []
                for before in befores:
                    if complaint := goes_back(before, status):
                        self.complaints.append((task_id, sight.received, complaint))
                        break
                last = furthest[-1].status if furthest else None
                if last is None or _how_far(status) > _how_far(last):
                    furthest.append(sight)
                if status["finished"]:
                    self.ended.setdefault(task_id, sight.received)
            history = self.history[task_id]
            if not history or history[-1].status != status:
                history.append(sight)
            if task_id not in self._last or sight.sent >= self._last[task_id].sent:
                self._last[task_id] = sight

    def last(self, task_id: str) -> Status | None:
        sight = self._last.get(task_id)
        return sight and sight.status

    def is_open(self, task_id: str) -> bool:
        return task_id not in self.ended
