"""Presence: which workers are alive, and which queues they serve.

For a client, a worker is alive until `HOLD` seconds after its last heartbeat. Its messages are redelivered once its
lease has lapsed.

Asking the workers (Celery's `control.ping`) takes a broadcast and a second of waiting. Instead, each worker sends a
heartbeat twice a second, which also renews the lease on the messages that it holds.
"""

import math
import time
from collections.abc import Collection
from typing import Any, NamedTuple

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from flask_longtask.json_text import loads, pack
from flask_longtask.store.batch import BatchedReads
from flask_longtask.store.clock import Clock
from flask_longtask.store.keys import Keys
from flask_longtask.store.scripts import Scripts

# A page that polls every two seconds shows within five that no worker is running: HOLD + CACHED + 2.

#: Seconds between two heartbeats of a worker.
INTERVAL = 0.5

#: Seconds after its last heartbeat in which a worker still counts as alive.
HOLD = 2.5

#: Seconds for which a process reuses what it has read.
CACHED = 0.25


class Presence(NamedTuple):
    """Which workers were alive at one moment."""

    #: The living workers.
    workers: frozenset[str]
    #: Whether these are all living workers. For some seconds after Redis was away, this is not known: a living worker
    #: may not have reported again yet.
    complete: bool = True
    #: Whether Redis accepts writes. It does not while it is full, a replica, or unable to save to its disk, and
    #: workers cannot report then.
    writable: bool = True
    #: Workers that were alive lately and are silent now.
    silent: frozenset[str] = frozenset()

    #: The queues that the living workers serve.
    queues: frozenset[str] = frozenset()
    #: That moment, by Redis's clock.
    now: float = math.inf


class Heard(NamedTuple):
    """A worker, as of its last heartbeat."""

    worker: str  # its id
    name: str
    queues: list[str]
    #: The version of this package that it runs; None if it has not reported one.
    version: str | None
    #: Seconds since its last heartbeat.
    silent_for: float
    #: Seconds by which its host's clock was ahead of Redis's at that heartbeat; None if it has not reported its time.
    clock_ahead: float | None
    #: The tasks that it runs.
    running: list[str]

    @property
    def is_alive(self) -> bool:
        return self.silent_for <= HOLD


class Beat(NamedTuple):
    """What a worker learns from its heartbeat."""

    is_auditor: bool  # whether it is now the worker that looks for lost messages
    is_new: bool  # whether it was not known, or was taken for lost
    lost: list[str]  # the workers that have been silent for too long


class Workers:
    """The workers that report to one Redis. Every method but `heard` is one round trip.

    Each raises redis.exceptions.RedisError when Redis does not answer.
    """

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
        """Record a worker's heartbeat. After `lapse` seconds without one, another worker is taken for lost.

        `reserved` are the tasks of another broker that the worker has received and not started: all of them with
        `all_reserved`, else those since the last heartbeat. `version` is the worker's version of this package.
        """
        # The host's time decides nothing. It is recorded so that a wrong clock can be found.
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
        """Forget a worker that is lost or has stopped. The tasks that it ran wait to be started again.

        Returns False, and does nothing, if the worker still holds messages: hand them back first.
        """
        return bool(self._scripts.run("forget_worker", worker=worker))

    def heard(self) -> list[Heard]:
        """Return the workers that neither have stopped nor were taken for lost, sorted by name. Two round trips."""
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
        """Return which workers are alive now."""
        try:
            return self._look()
        except ResponseError:  # a key may be of the wrong type
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
            now=now,
        )


def _load_info(info: bytes) -> dict[str, Any]:
    """Return what a worker has reported about itself; empty if it cannot be read."""
    try:
        report = loads(info)
    except ValueError:  # not written by a worker
        return {}
    return report if isinstance(report, dict) else {}


def _queues(info: bytes) -> list[str]:
    queues = _load_info(info).get("queues")
    return [q for q in queues if isinstance(q, str)] if isinstance(queues, list) else []


def _heard(worker: str, info: bytes, last: float, now: float, running: set[bytes]) -> Heard:
    report = _load_info(info)
    clock = report.get("clock")
    return Heard(
        worker,
        str(report.get("name") or worker),
        _queues(info),
        str(report["version"]) if report.get("version") else None,
        max(0.0, now - last),
        clock - last if isinstance(clock, float) else None,
        sorted(task.decode(errors="replace") for task in running),
    )


class CachedPresence:
    """The presence as one process has last read it, so that many polls a second share one read of Redis."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._looks = BatchedReads[None](lambda callers: [self._look()] * len(callers))
        self._seen: Presence | None = None
        self._seen_at = -math.inf
        self._looking_since = -math.inf
        self._was_available = True
        self._incomplete_until = -math.inf

    def look(self) -> Presence:
        """Return which workers were alive at most twice CACHED seconds ago."""
        now = time.monotonic()
        seen, age = self._seen, now - self._seen_at
        # One of many callers reads. The others get what was read before or, if that is too old, share the next read.
        is_looked_at = now - self._looking_since < CACHED and age < 2 * CACHED
        if seen is not None and (age < CACHED or is_looked_at):
            return seen
        self._looking_since = now
        fresh: Presence = self._looks.read([None])[0]
        return fresh

    def _look(self) -> Presence:
        now, before = time.monotonic(), self._seen
        try:
            seen = self._workers.look()
        except RedisError:
            self.note_outage()
            raise
        # A process that has not looked for a while cannot tell dead workers from a Redis that stood still.
        silent = seen.silent - (before.silent if before else frozenset())
        if not self._was_available or (silent and now - self._seen_at > HOLD):
            self._incomplete_until = now + HOLD
        self._was_available = seen.writable
        self._seen = seen._replace(complete=seen.complete and now >= self._incomplete_until)
        self._seen_at = now
        return self._seen

    def note_outage(self) -> None:
        """Note that Redis did not answer."""
        self._was_available = False
        self._seen_at = -math.inf
