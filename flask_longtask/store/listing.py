"""For operators: all open tasks and the last ended ones, in pages, and the queues.

The scripts write both lists; see `list_open` in records.lua.
"""

import math
from contextlib import suppress
from typing import Any, Literal, NamedTuple

from redis import Redis
from redis.exceptions import ResponseError

from flask_longtask.json_text import loads
from flask_longtask.record import Record
from flask_longtask.store.families import has_ended
from flask_longtask.store.keys import Keys
from flask_longtask.store.scripts import Scripts
from flask_longtask.store.tasks import Tasks

#: How many scores each priority of a queue has; see accept.lua.
SCORES = 10**12

#: The most priorities that a queue of Kombu's Redis transport has.
MOST_PRIORITIES = 10

Which = Literal["open", "ended"]

#: Sorted sets that are counted; the scheduled tasks are open ones.
Counted = Literal["open", "ended", "scheduled"]


class Position(NamedTuple):
    """A place in a list: after this task. It stays valid when tasks join or leave the list, this one included."""

    time: float  # when the task was submitted or has ended
    task_id: str

    def __str__(self) -> str:
        return f"{self.time!r}~{self.task_id}"

    @classmethod
    def parse(cls, text: str) -> "Position":
        """Read the text of a position. Raises ValueError for any other text."""
        number, _, task_id = text.partition("~")
        with suppress(ValueError):
            time = float(number)
            if task_id and math.isfinite(time):
                return cls(time, task_id)
        raise ValueError(f"No position: {text!r}")


class Page(NamedTuple):
    """Some tasks of a list."""

    #: The tasks, by their positions, with their records. There may be fewer than were asked for, even if more follow.
    tasks: list[tuple[Position, Record]]
    #: Where the next page begins; None if this is the last one.
    after: Position | None

    @property
    def task_ids(self) -> list[str]:
        return [position.task_id for position, _ in self.tasks]


class QueueWaits(NamedTuple):
    """What waits in a queue."""

    name: str
    waiting: int
    #: When the task that has waited longest began to wait, in seconds since 1970; None if none waits.
    since: float | None


class Listing:
    """The open tasks by the time at which they were submitted, and the last 20,000 ended ones by that of their end.

    A part of a family is not listed, but its family is. Nor is a task listed that follows another, before its turn.
    """

    def __init__(self, client: Redis, keys: Keys, scripts: Scripts, tasks: Tasks) -> None:
        self._client = client
        self._keys: dict[Counted, str] = {
            "open": keys.open,
            "ended": keys.ended,
            "scheduled": keys.scheduled,
        }
        self._queues, self._waiting = keys.queues, keys.waiting
        self._scripts = scripts
        self._tasks = tasks

    def page(
        self,
        which: Which,
        after: Position | None = None,
        most: int = 50,
        *,
        oldest_first: bool = False,
    ) -> Page:
        """Return at most `most` tasks of a list that come after this position, the newest first by default.

        Two round trips, one for the ids and one for their records: a script could do it in one, but would decode the
        records inside Redis, while all other clients wait. A third one removes ids whose record is gone, if there are
        any. Raises redis.exceptions.RedisError when Redis does not answer.
        """
        found = self._find(self._keys[which], after, most + 1, oldest_first)
        follows, found = len(found) > most, found[:most]
        records = self._tasks.records([position.task_id for position in found])
        tasks, strays = [], []
        for position, record in zip(found, records, strict=True):
            if record is not None and has_ended(record) is (which == "ended"):
                tasks.append((position, record))
            else:
                strays.append(position.task_id)
        if strays:
            self._client.zrem(self._keys[which], *strays)
        return Page(tasks, found[-1] if follows else None)

    def count(self, which: Counted) -> int:
        """Return how many tasks a list has. One round trip."""
        return int(self._client.zcard(self._keys[which]))

    def queues(self) -> list[QueueWaits]:
        """Return the queues to which tasks were sent that may still be open, and what waits in each, sorted by name.

        Three round trips, with a few commands for each queue.
        """
        names: dict[bytes, bytes] = self._client.hgetall(self._queues)  # type: ignore[assignment]
        queues = sorted((name.decode(errors="replace"), _priorities(names[name])) for name in names)
        pipeline: Any = self._client.pipeline(transaction=False)
        for name, priorities in queues:
            pipeline.zcard(self._waiting(name))
            for number in range(priorities):  # accept.lua gives each priority a range of scores
                first, last = number * SCORES, (number + 1) * SCORES
                pipeline.zrangebyscore(self._waiting(name), first, f"({last}", 0, 1)
        answers = iter(pipeline.execute())
        counts, heads = {}, []
        for name, priorities in queues:
            counts[name] = next(answers)
            heads += [
                (name, i.decode(errors="replace")) for _ in range(priorities) for i in next(answers)
            ]
        since: dict[str, float] = {}
        records = self._tasks.records([task_id for _, task_id in heads])
        for (name, _), record in zip(heads, records, strict=True):
            began = _waits_since(record or {})
            if began is not None:
                since[name] = min(began, since.get(name, began))
        return [QueueWaits(name, counts[name], since.get(name)) for name, _ in queues]

    def _find(
        self, key: str, after: Position | None, most: int, oldest_first: bool
    ) -> list[Position]:
        try:
            found = self._read(key, after, most, oldest_first)
        except ResponseError:  # the key may be of the wrong type
            self._scripts.mend()
            found = self._read(key, after, most, oldest_first)
        return [Position(time, task_id.decode(errors="replace")) for task_id, time in found]

    def _read(
        self, key: str, after: Position | None, most: int, oldest_first: bool
    ) -> list[tuple[bytes, float]]:
        pipeline: Any = self._client.pipeline(transaction=False)
        read, end = (
            (pipeline.zrangebyscore, "+inf")
            if oldest_first
            else (pipeline.zrevrangebyscore, "-inf")
        )
        if after is None:
            read(key, "-inf" if oldest_first else "+inf", end, 0, most, withscores=True)
            (found,) = pipeline.execute()
            return list(found)
        # Tasks that one script has ended, such as the rest of a chain, have the same time. Redis orders them by id.
        read(key, after.time, after.time, withscores=True)
        read(key, f"({after.time!r}", end, 0, most, withscores=True)
        same, later = pipeline.execute()
        last = after.task_id.encode()
        left = [each for each in same if (each[0] > last if oldest_first else each[0] < last)]
        return [*left, *later][:most]


def _priorities(text: bytes) -> int:
    """Return how many priorities a queue has, from its entry in Redis. With another broker it has one."""
    with suppress(ValueError):
        lists = loads(text)
        if isinstance(lists, list):
            return min(max(1, len(lists)), MOST_PRIORITIES)
    return 1


def _waits_since(record: Record) -> float | None:
    """Return when a waiting task began to wait: when it was sent, last ran, or was due to be tried again."""
    times = (record.get(field) for field in ("submitted", "started", "reported", "eta"))
    return max((time for time in times if isinstance(time, float)), default=None)
