"""What every comparison needs: the servers, tasks, and measurements in turn. It compares nothing itself."""

import json
import os
import platform
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, TypeVar

from celery.app.task import Context
from redis import Redis

from benchmarks.load import WRK, requests_a_second
from flask_longtask.celery import attempt
from flask_longtask.store import Run
from tests.processes import Process, RedisServer, WebServer, environment, free_port

MESSAGE = "Sorting the loose pages"

#: The prefixes of the keys of a task in Redis. The task's id follows.
KEYS = ("celery-task-meta-", "longtask:task:")

#: How many different tasks are polled in turn, and how many bars a page has.
BARS = 50

Name = TypeVar("Name")


class Size(NamedTuple):
    """How much is measured. Durations are in seconds."""

    rounds: int
    seconds: float
    starts: int
    updates: int
    rows: int
    watchers: int
    tasks: int
    stream_seconds: float
    stalled: int
    held: int
    stored: int


FULL = Size(5, 3.0, 2000, 5000, 1_000_000, 1000, 100, 20.0, 20, 10_000, 1_000_000)
SHORT = Size(1, 0.3, 50, 50, 20_000, 20, 4, 2.0, 2, 50, 2000)


class Other(Process):
    """The other solutions, served by the same kind of server."""

    def __init__(self, folder: Path, redis_url: str) -> None:
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        command = [sys.executable, "-m", "gunicorn", "-c", "benchmarks/programs/gunicorn.conf.py"]
        command += ["-b", f"127.0.0.1:{port}", "benchmarks.programs.others:app"]
        super().__init__("others", command, folder, {"OTHERS_REDIS_URL": redis_url})
        self.wait_for(self.answers)

    def answers(self) -> bool:
        try:
            requests_a_second(self.url, ["/constant"], 0.05)
        except subprocess.CalledProcessError:
            return False
        return True


class Bench:
    """The servers, and the tasks in them."""

    def __init__(self, folder: Path, size: Size) -> None:
        self.size = size
        self.folder = folder
        self.redis_server = RedisServer("redis", folder)
        self.redis = Redis.from_url(self.redis_server.url())
        self.settings = {
            **environment(self.redis_server.url()),
            "LONGTASK_MAX_WAITING": "1000000000",  # checked, but never reached
            "RATELIMIT_ENABLED": "no",  # the single client here sends more requests than any person
            "LONGTASK_RESULT_EXPIRES": "86400",
            "OTHERS_REDIS_URL": self.redis_server.url(1),
        }
        os.environ.update(self.settings)
        self.others_redis = Redis.from_url(self.settings["OTHERS_REDIS_URL"])
        self.ours = WebServer("ours", folder, self.redis_server.url(), **self.settings)

        from app import celery, long_task  # noqa: PLC0415  # needs the environment set above

        self.backend = celery.backend
        self.task_name = long_task.name
        # Register a worker for the running tasks that never counts as lost.
        self.redis.zadd("longtask:workers", {attempt.WORKER_ID: time.time() + 86_400})
        info = json.dumps({"name": "benchmarks", "queues": ["celery"]})
        self.redis.hset("longtask:worker-info", attempt.WORKER_ID, info)

    @cached_property
    def others(self) -> Other:
        """Starts on first use."""
        return Other(self.folder, self.redis_server.url(1))

    def stop(self) -> None:
        self.ours.stop()
        if "others" in vars(self):
            self.others.stop()
        self.redis.close()
        self.others_redis.close()
        self.redis_server.stop()

    def at(self, server: RedisServer) -> dict[str, str]:
        """Return the settings for another Redis."""
        return {**self.settings, **environment(server.url())}

    # -- tasks -----------------------------------------------------------------------------------

    def running_task(self) -> str:
        """Create a task that runs and has reported, for both servers. Returns its id."""
        task_id = str(uuid.uuid4())
        this = Run(self.task_name, attempt.WORKER_ID, 1, nonce=task_id, queue="celery")
        change = self.backend.start(task_id, this)
        request = Context(id=task_id)
        attempt.remember(request, this._replace(attempt=change.attempt, started=change.now))
        self.report(task_id, MESSAGE, request)
        key = f"celery-task-meta-{task_id}"
        self.others_redis.set(key, self.redis.get(key))
        return task_id

    def running_tasks(self, count: int) -> list[str]:
        return [self.running_task() for _ in range(count)]

    def report(
        self, task_id: str, message: str, request: Context | None = None, **meta: object
    ) -> None:
        meta = {"current": 3, "total": 7, "status": message, **meta}
        self.backend.store_result(task_id, meta, "PROGRESS", request=request)

    def report_evenly(self, task_ids: Sequence[str], seconds: float) -> None:
        """Let each task report once a second, one after the other. Its message is the time."""
        begin = time.monotonic()
        for number in range(int(seconds * len(task_ids))):
            time.sleep(max(0.0, begin + number / len(task_ids) - time.monotonic()))
            self.report(task_ids[number % len(task_ids)], f"{time.time():.6f}")

    def finished_tasks(self, client: Redis) -> float:
        """Fill a Redis with copies of an ended task. Returns the bytes of each copy."""
        task_id = self.running_task()
        result = {"current": 7, "total": 7, "status": "Task completed!", "result": 42}
        self.backend.store_result(task_id, result, "SUCCESS")
        documents = [self.redis.get(key + task_id) for key in KEYS]
        before = client.info("memory")["used_memory"]
        for start in range(0, self.size.stored, 1000):
            client.eval(COPY, 0, *documents, 86_400, start, min(1000, self.size.stored - start))
        return (client.info("memory")["used_memory"] - before) / self.size.stored

    # -- measurements ----------------------------------------------------------------------------

    def rate(
        self,
        server: str,
        *paths: str,
        times: int = 1,
        body: str | None = None,
        keyed: bool = False,
    ) -> Callable[[], float]:
        """Measure how many requests for these paths in turn a server answers in a second, or `times` as many."""
        return lambda: times * requests_a_second(server, paths, self.size.seconds, body, keyed)

    def turns(
        self, name: str, count: int, settings: dict[str, str] | None = None
    ) -> Callable[[], float]:
        """Measure the seconds of one turn of a loop in loops.py, which runs `count` times."""

        def measure() -> float:
            command = [sys.executable, "-m", "benchmarks.programs.loops", name, str(count)]
            run = subprocess.run(
                command,
                env={**os.environ, **(settings or {})},
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            return float(run.stdout)

        return measure

    def in_turn(self, measurements: dict[Name, Callable[[], float]]) -> dict[Name, list[float]]:
        """Make every measurement once in each round, so that other load on the machine affects all alike."""
        samples: dict[Name, list[float]] = {name: [] for name in measurements}
        for _ in range(self.size.rounds):
            for name, measure in measurements.items():
                samples[name].append(measure())
        return samples

    @contextmanager
    def watching(
        self,
        task_ids: Sequence[str],
        count: int,
        web: WebServer | None = None,
        stalled: Sequence[str] = (),
    ) -> Iterator[Callable[[], dict[str, float]]]:
        """Let `count` clients watch these tasks, and for each task in `stalled` one more that reads nothing.

        Yields a function that ends the watching and returns the delays: see watchers.py.
        """
        command = [sys.executable, "-m", "benchmarks.programs.watchers"]
        command += [(web or self.ours).url.removeprefix("http://"), str(count)]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as watchers:

            def seen() -> dict[str, float]:
                watchers.stdin.close()
                if (delays := json.loads(watchers.stdout.readline()))["count"] == 0:
                    raise RuntimeError("no change was seen")
                return delays

            tasks = json.dumps({"tasks": list(task_ids), "stalled": list(stalled)})
            print(tasks, file=watchers.stdin, flush=True)
            if watchers.stdout.readline() != "watching\n":
                raise RuntimeError("the watchers could not connect")
            yield seen
            watchers.stdin.close()
            watchers.stdout.read()


#: A script that stores the copies, with ids as long as UUIDs.
COPY = """
for i = ARGV[4], ARGV[4] + ARGV[5] - 1 do
    local id = string.format('%08d-0000-4000-8000-000000000000', i)
    redis.call('SET', 'celery-task-meta-' .. id, ARGV[1], 'EX', ARGV[3])
    redis.call('SET', 'longtask:task:' .. id, ARGV[2], 'EX', ARGV[3])
end
"""


def inverse(measure: Callable[[], float]) -> Callable[[], float]:
    return lambda: 1 / measure()


def machine() -> str:
    load = "wrk" if WRK else "no wrk: load from Python"
    python = platform.python_version()
    return f"{os.cpu_count()} cores, Python {python}, {load}, load before: {os.getloadavg()[0]:.1f}"
