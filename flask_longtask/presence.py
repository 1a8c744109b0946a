"""Who is there to run tasks, and how far each queue is: how workers say it in Redis, and how it is read.

Asking the workers (Celery's `control.ping`) takes a broadcast and a second of waiting. Instead each says
twice a second that it is there and which queues it serves; one that has said nothing for a while is taken
for dead.
"""

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from typing import Any, NamedTuple

from redis import Redis
from redis.exceptions import RedisError

# A page that looks every two seconds tells within five that nobody is there: 2.5 + 0.25 + 2.

#: Seconds between two signs of life of a worker.
INTERVAL = 0.5

#: Seconds after its last sign in which a worker still counts as alive.
HOLDS = 2.5

#: Seconds for which a process goes on telling what it has read.
CACHED = 0.25

#: Cancelled tasks of a queue that are left out where it is told how many are ahead.
MOST_CANCELLED = 1000

_WORKERS = "longtask:workers"
#: Written to see whether that can be done.
_WRITABLE = "longtask:writable"
_ANNOUNCE = (files("flask_longtask") / "announce.lua").read_text()


class Presence(NamedTuple):
    """Who was there at one moment."""

    #: The living workers, and the queues that one of them serves.
    workers: frozenset[str]
    served: frozenset[str]
    #: For each queue the number of the task that was started last; see register.lua.
    started: Mapping[str, int]
    #: For each queue the numbers of tasks that were cancelled while they waited, smallest first.
    cancelled: Mapping[str, Sequence[int]] = {}
    #: Whether who is not named is not there. For some seconds after Redis was away it is not known: a
    #: living worker has not reported again yet, and to say that none is running would be wrong.
    complete: bool = True
    #: Whether Redis takes writes: not while it is full, a replica, or cannot save to its disk. The workers
    #: cannot say that they are there then.
    writable: bool = True
    #: Workers that have been there lately, and say nothing now.
    silent: frozenset[str] = frozenset()


def announce(client: Redis, worker: str, queues: Iterable[str]) -> None:
    """Say that a worker is alive and serves these queues."""
    client.register_script(_ANNOUNCE)([_WORKERS, *map(_serving, queues)], [worker, HOLDS])


def withdraw(client: Redis, worker: str, queues: Iterable[str]) -> None:
    """Say that a worker takes no more tasks."""
    pipeline = client.pipeline()
    for key in (_WORKERS, *map(_serving, queues)):
        pipeline.zrem(key, worker)
    pipeline.execute()


def read(client: Redis, queues: Iterable[str]) -> Presence:
    """Who is there now."""
    queues = list(queues)
    server: Any = client.info("server")
    since = server["server_time_usec"] / 1e6 - HOLDS
    pipeline: Any = client.pipeline(transaction=False)
    pipeline.zrangebyscore(_WORKERS, since, "+inf")
    for queue in queues:
        pipeline.zcount(_serving(queue), since, "+inf")
        pipeline.hget(queue_key(queue), "started")
        pipeline.zrange(cancelled_key(queue), 0, MOST_CANCELLED - 1)
    pipeline.zrangebyscore(_WORKERS, "-inf", since)
    pipeline.set(_WRITABLE, 1)
    workers, *answers, silent, written = pipeline.execute(raise_on_error=False)
    for answer in (workers, *answers, silent):
        if isinstance(answer, Exception):
            raise answer
    writable = not isinstance(written, Exception)
    return Presence(
        frozenset(worker.decode() for worker in workers),
        frozenset(queue for queue, alive in zip(queues, answers[::3], strict=True) if alive),
        {queue: int(number or 0) for queue, number in zip(queues, answers[1::3], strict=True)},
        {
            queue: [int(n) for n in numbers]
            for queue, numbers in zip(queues, answers[2::3], strict=True)
        },
        complete=server["uptime_in_seconds"] > HOLDS and writable,
        writable=writable,
        silent=frozenset(worker.decode() for worker in silent),
    )


def queue_key(queue: str) -> str:
    """The key of a queue's numbers."""
    return f"longtask:queue:{queue}"


def cancelled_key(queue: str) -> str:
    """The key of the numbers in a queue whose tasks were cancelled."""
    return f"longtask:cancelled:{queue}"


def _serving(queue: str) -> str:
    return f"longtask:serving:{queue}"


class Board:
    """The presence as one process last saw it: many polls a second share a look at Redis."""

    def __init__(self) -> None:
        self._seen: Presence | None = None
        self._seen_at = -math.inf
        self._looking_since = -math.inf
        self._is_in_sight = True
        self._blind_until = -math.inf

    def look(self, client: Redis, queues: Iterable[str]) -> Presence:
        """Who is there, at most twice CACHED seconds old."""
        now = time.monotonic()
        seen, seen_at = self._seen, self._seen_at
        # One of many looks. The others are told what was seen before, unless that was too long ago.
        is_looked_at = now - self._looking_since < CACHED and now - seen_at < 2 * CACHED
        if seen is None or not (now - seen_at < CACHED or is_looked_at):
            before, self._looking_since = seen, now
            try:
                seen = read(client, queues)
            except RedisError:
                self.lost_sight()
                raise
            # Who has not looked for a while cannot tell workers that died from a Redis that stood still.
            silent = seen.silent - (before.silent if before else frozenset())
            if not self._is_in_sight or (silent and now - seen_at > HOLDS):
                self._blind_until = now + HOLDS
            self._is_in_sight = seen.writable
            seen = seen._replace(complete=seen.complete and now >= self._blind_until)
            self._seen, self._seen_at = seen, now
        return seen

    def lost_sight(self) -> None:
        """Redis did not answer."""
        self._is_in_sight = False
        self._seen_at = -math.inf
