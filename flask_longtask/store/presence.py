"""Presence: which workers are alive, and which queues they serve.

For a client a worker is alive as long as its last heartbeat holds (`HOLD`); its messages are handed out again once
the lease has lapsed.

Asking the workers (Celery's `control.ping`) takes a broadcast and a second of waiting. Instead each has a heartbeat
twice a second, by which it also keeps the messages that it holds.
"""

import math
import time
from collections.abc import Collection
from typing import Any, NamedTuple

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from flask_longtask.json_text import loads, pack
from flask_longtask.store.clock import Clock
from flask_longtask.store.keys import Keys
from flask_longtask.store.scripts import Scripts

# A page that looks every two seconds tells within five that no worker is running: 2.5 + 0.25 + 2.

#: Seconds between two heartbeats of a worker.
INTERVAL = 0.5

#: Seconds after its last heartbeat in which a worker still counts as alive.
HOLD = 2.5

#: Seconds for which a process goes on telling what it has read.
CACHED = 0.25


class Presence(NamedTuple):
    """Which workers were alive at one moment."""

    #: The living workers.
    workers: frozenset[str]
    #: Whether a worker that is not named is not running. For some seconds after Redis was away it is not known: a
    #: living worker has not reported again yet, and to say that none is running would be wrong.
    complete: bool = True
    #: Whether Redis takes writes: not while it is full, a replica, or cannot save to its disk. Workers cannot
    #: report then.
    writable: bool = True
    #: Workers that have been alive lately and are silent now.
    silent: frozenset[str] = frozenset()

    #: The queues that they serve.
    queues: frozenset[str] = frozenset()


class Heard(NamedTuple):
    """A worker, as it was last heard of."""

    worker: str  # its id
    name: str
    queues: list[str]
    #: Which version of this package it runs; None if it has not said so.
    version: str | None
    #: Seconds since its last heartbeat.
    silent_for: float
    #: Seconds by which its host's clock was ahead of Redis's then; None if it has not said so.
    clock_ahead: float | None
    #: The tasks that it runs.
    running: list[str]

    @property
    def is_alive(self) -> bool:
        return self.silent_for <= HOLD


class Beat(NamedTuple):
    """What a worker learns by its heartbeat."""

    is_auditor: bool  # whether it is the one that looks for lost messages now
    is_new: bool  # whether it was not known, or was taken for lost
    lost: list[str]  # the workers that have been silent for too long


class Workers:
    """Each raises redis.exceptions.RedisError when Redis does not answer. All but `heard` are one round trip."""

    def __init__(self, client: Redis, keys: Keys, clock: Clock, scripts: Scripts) -> None:
        self._client = client
        self._keys = keys
        self._clock = clock
        self._scripts = scripts

    def beat(
        self,
        worker: str,
        name: str,
        queues: Collection[str],
        lapse: float,
        reserved: Collection[str] = (),
        all_reserved: bool = False,
        version: str = "",
    ) -> Beat:
        """A worker's heartbeat. `lapse` is the seconds of silence after which another worker is taken for lost.

        `reserved` are tasks of another broker that it has received and not started: those that came since the last
        heartbeat, or with `all_reserved` all of them. `version` is that of this package in the worker.
        """
        # What its host takes for the time decides nothing: it is told so that one that is wrong can be found.
        info = {"name": name, "queues": sorted(queues), "version": version, "clock": time.time()}
        now, is_auditor, is_new, *lost = self._scripts.run(
            "heartbeat",
            worker=worker,
            info=pack(info).decode(),
            reserved=list(reserved),
            all_reserved=all_reserved,
            hold=HOLD,
            lapse=lapse,
        )
        self._clock.set(float(now))
        return Beat(bool(is_auditor), bool(is_new), [worker.decode() for worker in lost])

    def forget(self, worker: str) -> bool:
        """A worker is lost or has stopped: what it ran waits to be started again.

        Returns False, and does nothing, if it still holds messages: hand them back first.
        """
        return bool(self._scripts.run("forget_worker", worker=worker))

    def heard(self) -> list[Heard]:
        """The workers that have not stopped and were not taken for lost, by their names. Two round trips."""
        pipeline: Any = self._client.pipeline(transaction=False)
        pipeline.time()
        pipeline.zrange(self._keys.workers, 0, -1, withscores=True)
        pipeline.hgetall(self._keys.worker_info)
        (seconds, microseconds), seen, infos = pipeline.execute()
        now = seconds + microseconds / 1e6
        ids = [worker.decode(errors="replace") for worker, _ in seen]
        for worker in ids:
            pipeline.sunion(self._keys.running(worker), self._keys.unheld(worker))
        running = pipeline.execute() if ids else []
        workers = [
            _heard(worker, infos.get(key, b""), last, now, tasks)
            for worker, (key, last), tasks in zip(ids, seen, running, strict=True)
        ]
        return sorted(workers, key=lambda worker: worker.name)

    def look(self) -> Presence:
        """Which workers are alive now."""
        try:
            return self._look()
        except ResponseError:  # of another type than they should be, perhaps
            self._scripts.mend()
            return self._look()

    def _look(self) -> Presence:
        pipeline: Any = self._client.pipeline(transaction=False)
        pipeline.info("server")
        pipeline.zrange(self._keys.workers, 0, -1, withscores=True)
        pipeline.hgetall(self._keys.worker_info)
        pipeline.set(self._keys.writable, 1, ex=60)
        server, seen, infos, written = pipeline.execute(raise_on_error=False)
        for answer in (server, seen, infos):
            if isinstance(answer, Exception):
                raise answer
        writable = not isinstance(written, Exception)
        now = server["server_time_usec"] / 1e6
        self._clock.set(now)
        alive = {worker for worker, last in seen if last >= now - HOLD}
        living = [info for worker, info in infos.items() if worker in alive]
        return Presence(
            frozenset(worker.decode(errors="replace") for worker in alive),
            complete=server["uptime_in_seconds"] > HOLD and writable,
            writable=writable,
            silent=frozenset(
                worker.decode(errors="replace") for worker, _ in seen if worker not in alive
            ),
            queues=frozenset(queue for info in living for queue in _queues(info)),
        )


def _said(info: bytes) -> dict[str, Any]:
    """What a worker says of itself."""
    try:
        said = loads(info)
    except ValueError:  # no worker has said that
        return {}
    return said if isinstance(said, dict) else {}


def _queues(info: bytes) -> list[str]:
    queues = _said(info).get("queues")
    return [q for q in queues if isinstance(q, str)] if isinstance(queues, list) else []


def _heard(worker: str, info: bytes, last: float, now: float, running: set[bytes]) -> Heard:
    said = _said(info)
    clock = said.get("clock")
    return Heard(
        worker,
        str(said.get("name") or worker),
        _queues(info),
        str(said["version"]) if said.get("version") else None,
        max(0.0, now - last),
        clock - last if isinstance(clock, float) else None,
        sorted(task.decode(errors="replace") for task in running),
    )


class CachedPresence:
    """The presence as one process last saw it: many polls a second share a look at Redis."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._seen: Presence | None = None
        self._seen_at = -math.inf
        self._looking_since = -math.inf
        self._is_in_sight = True
        self._blind_until = -math.inf

    def look(self) -> Presence:
        """Which workers are alive, at most twice CACHED seconds ago."""
        now = time.monotonic()
        seen, seen_at = self._seen, self._seen_at
        # One of many looks. The others are told what was seen before, unless that was too long ago.
        is_looked_at = now - self._looking_since < CACHED and now - seen_at < 2 * CACHED
        if seen is None or not (now - seen_at < CACHED or is_looked_at):
            before, self._looking_since = seen, now
            try:
                seen = self._workers.look()
            except RedisError:
                self.lost_sight()
                raise
            # A process that has not looked for a while cannot tell dead workers from a Redis that stood still.
            silent = seen.silent - (before.silent if before else frozenset())
            if not self._is_in_sight or (silent and now - seen_at > HOLD):
                self._blind_until = now + HOLD
            self._is_in_sight = seen.writable
            seen = seen._replace(complete=seen.complete and now >= self._blind_until)
            self._seen, self._seen_at = seen, now
        return seen

    def lost_sight(self) -> None:
        """Redis did not answer."""
        self._is_in_sight = False
        self._seen_at = -math.inf
