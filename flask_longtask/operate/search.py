"""Finds the tasks that the operators' page shows: the open ones, oldest first, then the ended ones, newest first.

So what runs is above what waits, and what waits is in the order in which it will run.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from flask_longtask.celery.backend import RedisBackend
from flask_longtask.operate import access
from flask_longtask.operate.filters import STATES, Filters, Place
from flask_longtask.status import ENDED_STATES
from flask_longtask.store import Record
from flask_longtask.store.listing import Position

#: Tasks on a page.
PAGE = 50

#: How many tasks one request looks through for those that match its filters.
LOOKED_THROUGH = 1000

#: Of how many tasks the statuses are read in one round trip, to see whether they match.
READ_AT_ONCE = 250

Item = TypeVar("Item")
Listed = tuple[Position, Record]

_PHASES = {
    "PENDING": "waiting",
    "RETRY": "retry",
    "SUCCESS": "done",
    "FAILURE": "failed",
    "REVOKED": "cancelled",
}


class Found(NamedTuple):
    #: The status objects, without what a task has returned, and with `queue`, `owner` and `worker`.
    tasks: list[dict[str, Any]]
    #: Where the next page begins; None if this is the last one.
    after: Place | None


def search(backend: RedisBackend, filters: Filters) -> Found:
    """Return the first tasks after the place in `filters` that match them, at most PAGE."""
    found: list[dict[str, Any]] = []
    left = LOOKED_THROUGH
    place: Place | None = _next_list(filters, filters.place)
    while place:
        most = min(left, LOOKED_THROUGH if filters.are_set else PAGE - len(found))
        page = backend.store.listing.page(
            place.which, place.after, most, oldest_first=place.which == "open"
        )
        left -= most if page.after else len(page.tasks)
        for position, task in _matching(backend, filters, page.tasks):
            found.append(task)
            if len(found) == PAGE and position != page.tasks[-1][0]:
                return Found(found, Place(place.which, position))
        place = Place(place.which, page.after) if page.after else _list_after(filters, place)
        if len(found) >= PAGE or left <= 0:
            break
    return Found(found, place)


def shown(
    backend: RedisBackend, task_ids: Sequence[str], *, alone: bool = False
) -> dict[str, dict[str, Any]]:
    """Return what the page shows of these tasks, without those that do not exist or that this operator may not see.

    `alone`: of the tasks themselves, even if they have the id of a family.
    """
    statuses = access.permitted(backend.describe(task_ids, alone=alone))
    return {task_id: _without_data(task) for task_id, task in statuses.items() if task}


def _next_list(filters: Filters, place: Place) -> Place | None:
    """Return the place, or the beginning of the next list if the filters exclude all tasks of this one."""
    return place if filters.includes(place.which) else _list_after(filters, place)


def _list_after(filters: Filters, place: Place) -> Place | None:
    return Place("ended") if place.which == "open" and filters.includes("ended") else None


def _matching(
    backend: RedisBackend, filters: Filters, tasks: Sequence[Listed]
) -> Iterator[tuple[Position, dict[str, Any]]]:
    candidates = [each for each in tasks if _may_match(each[1], filters)]
    for some in _in_steps(_sorted_out(backend, filters, candidates), PAGE):
        known = shown(backend, [position.task_id for position, _ in some])
        for position, record in some:
            if task := known.get(position.task_id):
                queue = record.get("parts", record).get("queue")
                owner, worker = record.get("owner"), record.get("worker")
                yield position, {**task, "queue": queue, "owner": owner, "worker": worker}


def _sorted_out(
    backend: RedisBackend, filters: Filters, tasks: Sequence[Listed]
) -> Iterator[Listed]:
    """Return the tasks whose status matches the filters."""
    if not (filters.state or filters.words):
        yield from tasks
        return
    for some in _in_steps(tasks, READ_AT_ONCE):
        statuses = backend.describe([position.task_id for position, _ in some], ahead=False)
        for position, record in some:
            status = statuses[position.task_id]
            if status and _matches(status, record.get("owner"), filters):
                yield position, record


def _in_steps(items: Iterable[Item], length: int) -> Iterator[list[Item]]:
    left = iter(items)
    while some := list(islice(left, length)):
        yield some


def _may_match(record: Record, filters: Filters) -> bool:
    """Whether a task can match, by its record alone: most that do not are sorted out without reading more of them."""
    parts = record.get("parts")
    known = record if parts is None else parts  # of a family, what its parts have in common
    name = known.get("task", "")
    if filters.task and _in_words(filters.task) not in (
        _in_words(name),
        _in_words(name.rpartition(".")[2]),
    ):
        return False
    if filters.queue and filters.queue != known.get("queue"):
        return False
    if filters.state in STATES["ended"] and (state := known.get("state")):
        return phase_of(state) == filters.state
    return filters.state != "running" or parts is not None or bool(record.get("running"))


def _matches(task: dict[str, Any], owner: str | None, filters: Filters) -> bool:
    if filters.state and filters.state not in (
        "ended" if task["state"] in ENDED_STATES else "open",
        phase_of(task["state"], task["status"]),
    ):
        return False
    said = (task["status"], task["task_id"], task["task"], owner)
    text = "\n".join(part for part in said if part).casefold()
    return all(word in text for word in filters.words)


def phase_of(state: str, sentence: str = "") -> str:
    """Return what the page calls a state; see client/status.js."""
    if state == "PENDING" and sentence.startswith("Scheduled "):
        return "scheduled"
    return _PHASES.get(state) or ("ended" if state in ENDED_STATES else "running")


def _in_words(name: str) -> str:
    """Return the name of a task as the page shows it, without regard to case: "long task" for `long_task`."""
    return name.replace("_", " ").strip().casefold()


def _without_data(task: dict[str, Any]) -> dict[str, Any]:
    """Return a status object without what may be large and belongs to whoever has started the task.

    Without its number in a family, too, which the page does not show.
    """
    return {name: value for name, value in task.items() if name not in ("result", "meta", "part")}
