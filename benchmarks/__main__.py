"""Compares the speed of Longtask with other solutions: `python -m benchmarks`. See benchmarks/README.md."""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
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

Name = TypeVar("Name")


class Size(NamedTuple):
    """The number of rounds, requests, rows, watchers and tasks, and the durations in seconds."""

    rounds: int
    seconds: float
    starts: int
    updates: int
    rows: int
    watchers: int
    tasks: int
    stream_seconds: float
    held: int
    stored: int


FULL = Size(5, 3.0, 2000, 5000, 1_000_000, 1000, 100, 20.0, 5000, 1_000_000)
SHORT = Size(1, 0.3, 50, 50, 20_000, 20, 4, 2.0, 50, 2000)


class Line(NamedTuple):
    """One line of the table. `goal`, if there is one, is for `samples`."""

    what: str
    unit: str
    samples: list[float]
    ratio: str = ""
    goal: str = ""
    met: bool | None = None


class Other(Process):
    """The other solutions, served by the same kind of server."""

    def __init__(self, folder: Path, redis_url: str) -> None:
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        command = [sys.executable, "-m", "gunicorn", "-c", "benchmarks/gunicorn.conf.py"]
        command += ["-b", f"127.0.0.1:{port}", "benchmarks.others:app"]
        super().__init__("others", command, folder, {"OTHERS_REDIS_URL": redis_url})
        self.wait_for(lambda: answers(f"{self.url}/constant"))


class Bench:
    """The servers, and the results so far."""

    def __init__(self, folder: Path, size: Size) -> None:
        self.size = size
        self.lines: list[Line] = []
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
        self.folder = folder
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
        self.redis_server.stop()

    # -- tasks -----------------------------------------------------------------------------------

    def running_task(self) -> str:
        """Create a task that runs and has reported, for both servers. Returns its id."""
        task_id = str(uuid.uuid4())
        this = Run(self.task_name, attempt.WORKER_ID, 1, nonce=task_id, queue="celery")
        change = self.backend.start(task_id, this)
        request = Context(id=task_id)
        attempt.remember(request, this._replace(attempt=change.attempt, started=change.now))
        self.report(task_id, MESSAGE, request)
        document = self.redis.get(f"celery-task-meta-{task_id}")
        Redis.from_url(self.settings["OTHERS_REDIS_URL"]).set(
            f"celery-task-meta-{task_id}", document
        )
        return task_id

    def report(self, task_id: str, message: str, request: Context | None = None) -> None:
        meta = {"current": 3, "total": 7, "status": message}
        self.backend.store_result(task_id, meta, "PROGRESS", request=request)

    # -- the measurements ------------------------------------------------------------------------

    def polls(self) -> None:
        task_id = self.running_task()
        page = "&".join(f"id={self.running_task()}" for _ in range(50))
        ours, others = self.ours.url, self.others.url
        samples = self.in_turn(
            {
                "a route that returns a constant": self.rate(f"{others}/constant"),
                "one read of the stored record": self.rate(f"{others}/one-read/{task_id}"),
                "Flask's example": self.rate(f"{others}/flask-example/result/{task_id}"),
                "celery-progress": self.rate(f"{others}/celery-progress/{task_id}"),
                "the tutorial": self.rate(f"{others}/tutorial/status/{task_id}"),
                "ours": self.rate(f"{ours}/status/{task_id}"),
                "page": self.rate(f"{ours}/status?{page}", times=50),
            }
        )
        page_of_ours = samples.pop("page")
        limit, mine = samples["a route that returns a constant"], samples["ours"]
        for name, values in samples.items():
            goal = {"ours": "at least 0.65 of the constant route", "celery-progress": ""}.get(
                name, ""
            )
            share = ratio(values, limit)
            met = share >= 0.65 if goal else None
            self.add(f"one poll: {name}", "polls/s", values, f"{share:.2f} of the limit", goal, met)
        times = ratio(mine, samples["celery-progress"])
        self.add(
            "one poll: ours to celery-progress",
            "",
            [],
            f"{times:.2f}",
            "at least 1.3",
            times >= 1.3,
        )
        best = max(
            (v for n, v in samples.items() if n not in ("ours", "a route that returns a constant")),
            key=statistics.median,
        )
        more = ratio(page_of_ours, best)
        self.add(
            "a page of 50 bars, one request: ours",
            "statuses/s",
            page_of_ours,
            f"{more:.0f} times the best of the others",
            "60,000 and 30 times the others",
            statistics.median(page_of_ours) >= 60_000 and more >= 30,
        )

    def starts(self) -> None:
        samples = self.in_turn(
            {
                "the tutorial": self.rate(f"{self.others.url}/tutorial/longtask", body="a=1"),
                "Flask's example": self.rate(f"{self.others.url}/flask-example/start", body="a=1"),
                "ours": self.rate(start := f"{self.ours.url}/longtask", body="steps=1&delay=0"),
                "ours, each with a key": self.rate(start, body="steps=1&delay=0", keyed=True),
                "loop": self.turns("start-others", self.size.starts),
                "our loop": self.turns("start-ours", self.size.starts),
            }
        )
        example = samples["Flask's example"]
        for name in ("the tutorial", "Flask's example", "ours", "ours, each with a key"):
            times = ratio(samples[name], example)
            goal = "at least 1.2 of Flask's example" if name == "ours" else ""
            self.add(
                f"one start by HTTP: {name}",
                "starts/s",
                samples[name],
                f"{times:.2f}",
                goal,
                times >= 1.2 if goal else None,
            )
        for name, label in (("loop", "bare Celery"), ("our loop", "ours, registered")):
            self.add(
                f"apply_async in a loop: {label}",
                "starts/s",
                [1 / s for s in samples[name]],
                f"{ratio(samples['loop'], samples[name]):.2f}",
            )
        self.redis.delete("celery", "longtask:waiting:celery")

    def reports(self) -> None:
        samples = self.in_turn(
            {name: self.turns(name, self.size.updates) for name in ("update-others", "update-ours")}
        )
        times = ratio(samples["update-ours"], samples["update-others"])
        self.add("one update_state: Celery", "µs", [s * 1e6 for s in samples["update-others"]])
        self.add(
            "one update_state: ours",
            "µs",
            [s * 1e6 for s in samples["update-ours"]],
            f"{times:.2f} of Celery's",
            "at most half",
            times <= 0.5,
        )

        samples = self.in_turn(
            {name: self.turns(name, self.size.rows) for name in ("loop", "tqdm", "track")}
        )
        times = ratio(samples["track"], samples["tqdm"])
        for name, goal in (("loop", ""), ("tqdm", ""), ("track", "no more than tqdm")):
            self.add(
                f"one row of a loop of {self.size.rows:,}: {name}",
                "ns",
                [s * 1e9 for s in samples[name]],
                f"{ratio(samples[name], samples['tqdm']):.2f} of tqdm's",
                goal,
                times <= 1 if goal else None,
            )

    def lines_of_a_log(self) -> None:
        names = ("write", "write and flush", "FileHandler", "log")
        samples = self.in_turn({name: self.turns(name, self.size.rows) for name in names})
        for name in names:
            times = ratio(samples[name], samples["write and flush"])
            self.add(
                f"one of {self.size.rows:,} log lines: {'self.log' if name == 'log' else name}",
                "ns",
                [s * 1e9 for s in samples[name]],
                f"{times:.2f} of a file's",
                "no more than a flushed line of a file" if name == "log" else "",
                times <= 1 if name == "log" else None,
            )

    def streams(self) -> None:
        size = self.size
        task_ids = [self.running_task() for _ in range(size.tasks)]
        p50s, p99s = [], []
        for _ in range(size.rounds):
            with self.watching(task_ids, size.watchers, size.stream_seconds) as watchers:
                self.report_evenly(task_ids, size.stream_seconds - 1)
                seen = json.loads(watchers.stdout.readline())
            if seen["count"] == 0:
                raise RuntimeError("no change was seen")
            p50s.append(seen["p50"] * 1e3)
            p99s.append(seen["p99"] * 1e3)
        what = f"{size.watchers:,} watchers of {size.tasks} tasks, each reporting once a second"
        self.add(f"{what}: median delay", "ms", p50s)
        self.add(
            f"{what}: 99th percentile", "ms", p99s, "", "under 50 ms", statistics.median(p99s) < 50
        )

        # A new process, since the previous one may not have noticed yet that its watchers are gone.
        watched = WebServer("watched", self.folder, self.redis_server.url(), **self.settings)
        try:
            before = memory_of(watched)
            with self.watching(task_ids, size.held, size.stream_seconds / 2, watched):
                time.sleep(size.stream_seconds / 4)  # the memory for connecting them is freed
                memory = memory_of(watched)
        finally:
            watched.stop()
        self.add(
            f"memory of one process that holds {size.held:,} watchers",
            "MB",
            [memory / 1e6],
            "",
            "under 250 MB",
            memory < 250e6,
        )
        self.add("of that, for one watcher", "kB", [(memory - before) / size.held / 1e3])

    def crowded(self) -> None:
        """Compare a Redis with a million finished tasks with one that has none."""
        task_ids = [self.running_task() for _ in range(50)]
        crowded_redis = RedisServer("redis-crowded", self.folder)
        web = WebServer("crowded", self.folder, crowded_redis.url(), **self.at(crowded_redis))
        try:
            with Redis.from_url(crowded_redis.url()) as client:
                for key in [key + task_id for key in KEYS for task_id in task_ids]:
                    client.set(key, self.redis.get(key))
                client.zadd("longtask:workers", dict(self.redis.zscan_iter("longtask:workers")))
                client.hset(
                    "longtask:worker-info", mapping=self.redis.hgetall("longtask:worker-info")
                )
                size = self.store_finished(client)
            self.add(
                f"Redis for each of {self.size.stored:,} finished tasks",
                "bytes",
                [size],
                "",
                "at most 1,024",
                size <= 1024,
            )
            without = self.usual(task_ids, self.ours.url, self.settings)
            crowd = self.usual(task_ids, web.url, self.at(crowded_redis))
            samples = self.in_turn(
                {
                    (name, where): measure[name]
                    for name in without
                    for where, measure in (("without", without), ("with", crowd))
                }
            )
        finally:
            web.stop()
            crowded_redis.stop()
        for name in without:
            share = ratio(samples[name, "with"], samples[name, "without"])
            # Two equal runs may differ by 5 %.
            self.add(
                f"{name}, with {self.size.stored:,} finished tasks in Redis",
                "/s",
                samples[name, "with"],
                f"{share:.2f} of without",
                "not slower",
                share >= 0.95,
            )

    def usual(
        self, task_ids: list[str], url: str, settings: dict[str, str]
    ) -> dict[str, Callable[[], float]]:
        """Return the measurements of the most frequent operations."""
        page = "&".join(f"id={task_id}" for task_id in task_ids)
        return {
            "one poll": self.rate(f"{url}/status/{task_ids[0]}"),
            "a page of 50 bars": self.rate(f"{url}/status?{page}", times=50),
            "one start by HTTP": self.rate(f"{url}/longtask", body="steps=1&delay=0"),
            "apply_async in a loop": inverse(self.turns("start-ours", self.size.starts, settings)),
            "update_state in a loop": inverse(
                self.turns("update-ours", self.size.updates, settings)
            ),
        }

    def at(self, server: RedisServer) -> dict[str, str]:
        """Return the settings for another Redis."""
        return {**self.settings, **environment(server.url())}

    # -- how -------------------------------------------------------------------------------------

    def rate(
        self, url: str, times: int = 1, body: str | None = None, keyed: bool = False
    ) -> Callable[[], float]:
        return lambda: times * requests_a_second(url, self.size.seconds, body, keyed)

    def turns(
        self, name: str, count: int, settings: dict[str, str] | None = None
    ) -> Callable[[], float]:
        def measure() -> float:
            command = [sys.executable, "-m", "benchmarks.loops", name, str(count)]
            run = subprocess.run(
                command,
                env={**os.environ, **(settings or {})},
                capture_output=True,
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

    def add(self, *line: object) -> None:
        self.lines.append(Line(*line))
        print(row(self.lines[-1]), flush=True)

    @contextmanager
    def watching(
        self, task_ids: list[str], count: int, seconds: float, web: WebServer | None = None
    ) -> Iterator[subprocess.Popen]:
        command = [sys.executable, "-m", "benchmarks.watchers"]
        command += [(web or self.ours).url.removeprefix("http://"), str(seconds), str(count)]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as watchers:
            watchers.stdin.write("\n".join(task_ids))
            watchers.stdin.close()
            if watchers.stdout.readline() != "watching\n":
                raise RuntimeError("the watchers could not connect")
            yield watchers
            watchers.stdout.read()

    def report_evenly(self, task_ids: list[str], seconds: float) -> None:
        """Let each task report once a second, one after the other."""
        begin = time.monotonic()
        for number in range(int(seconds * len(task_ids))):
            time.sleep(max(0.0, begin + number / len(task_ids) - time.monotonic()))
            self.report(task_ids[number % len(task_ids)], f"{time.time():.6f}")

    def store_finished(self, client: Redis) -> float:
        """Fill a Redis with copies of an ended task. Returns the bytes of each copy."""
        task_id = self.running_task()
        result = {"current": 7, "total": 7, "status": "Task completed!", "result": 42}
        self.backend.store_result(task_id, result, "SUCCESS")
        documents = [self.redis.get(key + task_id) for key in KEYS]
        before = client.info("memory")["used_memory"]
        for start in range(0, self.size.stored, 1000):
            client.eval(COPY, 0, *documents, 86_400, start, min(1000, self.size.stored - start))
        return (client.info("memory")["used_memory"] - before) / self.size.stored


#: A script that stores the copies, with ids as long as UUIDs.
COPY = """
for i = ARGV[4], ARGV[4] + ARGV[5] - 1 do
    local id = string.format('%08d-0000-4000-8000-000000000000', i)
    redis.call('SET', 'celery-task-meta-' .. id, ARGV[1], 'EX', ARGV[3])
    redis.call('SET', 'longtask:task:' .. id, ARGV[2], 'EX', ARGV[3])
end
"""


def answers(url: str) -> bool:
    try:
        requests_a_second(url, 0.05)
    except subprocess.CalledProcessError:
        return False
    return True


def inverse(measure: Callable[[], float]) -> Callable[[], float]:
    return lambda: 1 / measure()


def machine() -> str:
    load = "wrk" if WRK else "no wrk: load from Python"
    python = platform.python_version()
    return f"{os.cpu_count()} cores, Python {python}, {load}, load before: {os.getloadavg()[0]:.1f}"


def ratio(values: list[float], to: list[float]) -> float:
    return statistics.median(values) / statistics.median(to)


def children_of(process: Process) -> list[str]:
    return Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()


def memory_of(server: Process) -> int:
    """Return the memory in bytes of gunicorn's only worker process."""
    child = children_of(server)[0]
    for line in Path(f"/proc/{child}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"no VmRSS of process {child}")


def row(line: Line) -> str:
    spread = median = ""
    if line.samples:
        median = f"{number(statistics.median(line.samples))} {line.unit}"
    if len(line.samples) > 1:
        spread = f"{number(min(line.samples))} to {number(max(line.samples))}"
    met = {True: "met", False: "**missed**", None: ""}[line.met]
    return f"| {line.what} | {median} | {spread} | {line.ratio} | {line.goal} | {met} |"


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


PARTS = {
    "polls": Bench.polls,
    "starts": Bench.starts,
    "reports": Bench.reports,
    "lines": Bench.lines_of_a_log,
    "streams": Bench.streams,
    "crowded": Bench.crowded,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--short", action="store_true", help="run for a minute, only to check that it works"
    )
    parser.add_argument(
        "parts", nargs="*", metavar="part", help=f"any of {', '.join(PARTS)}; default: all"
    )
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    print(f"{machine()}\n")
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), SHORT if arguments.short else FULL)
        try:
            print(
                "| what | median | spread | ratio | goal | |\n| --- | ---: | ---: | --- | --- | --- |"
            )
            for part in arguments.parts or PARTS:
                PARTS[part](bench)
        finally:
            bench.stop()


if __name__ == "__main__":
    main()
