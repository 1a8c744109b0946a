"""Measures the cost of each operation: `python -m benchmarks.costs`. docs/explanation/scaling.md has the results.

The CPU time of processes is the system's, in hundredths of a second; the CPU time of Redis is its own count. A round
trip is one read of a client's socket by Redis, with all commands in it. Commands that a script calls are counted
besides the script itself.
"""

import argparse
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.bench import BARS, FULL, SHORT, Bench, machine
from benchmarks.processes import children_of, cpu_seconds, memory_of, proportional_memory
from benchmarks.table import number
from tests.processes import Worker


class Costs(Bench):
    def polls(self) -> None:
        page = "&".join(f"id={task_id}" for task_id in self.running_tasks(BARS))
        for what, path in (
            ("a poll", f"/status/{self.running_task()}"),
            (f"a page of {BARS} bars", f"/status?{page}"),
        ):
            self.under_load(what, self.rate(self.ours.url, path))

    def starts(self) -> None:
        before = self.redis.info("memory")["used_memory"]
        count = self.under_load(
            "a start", self.rate(self.ours.url, "/longtask", body="steps=1&delay=0")
        )
        memory = (self.redis.info("memory")["used_memory"] - before) / count
        self.redis.delete("celery", "longtask:waiting:celery")
        print(row("a task that waits", memory=f"{number(memory)} bytes of Redis"))
        memory = self.finished_tasks(self.redis)
        print(row("a task that has ended", memory=f"{number(memory)} bytes of Redis"))

    def streams(self) -> None:
        """Measure open streams without changes, and the additional cost of each change."""
        watchers, tasks = self.size.watchers, self.size.tasks
        task_ids = self.running_tasks(tasks)
        before = memory_of(self.ours)
        seconds = self.size.stream_seconds
        with self.watching(task_ids, watchers):
            memory = (memory_of(self.ours) - before) / watchers
            print(row("an open stream", memory=f"{number(memory / 1000)} kB of the web process"))
            what = f"{watchers:,} open streams of {tasks} tasks, a second without a change"
            with self.paid(what, self.web, lambda: seconds) as silence:
                time.sleep(seconds)
            changes = int(seconds * tasks)
            what = f"on top of that, a change of a task with {watchers // tasks} watchers"
            with self.paid(what, self.web, lambda: changes, silence):
                self.report_evenly(task_ids, seconds)

    def reports(self) -> None:
        task_id, count = self.running_task(), self.size.updates
        with self.paid("an update_state", [os.getpid()], lambda: count):
            for _ in range(count):
                self.report(task_id, "Sorting the loose pages")

    def workers(self) -> None:
        from app import long_task  # noqa: PLC0415  # needs the environment that Bench sets

        count, seconds = self.size.starts, self.size.stream_seconds / 2
        for _ in range(count):
            long_task.apply_async([1, 0])
        # Hide the messages and the waiting tasks from the worker, to measure it idle first.
        hidden = ("celery", "longtask:waiting:celery")
        for name in hidden:
            self.redis.rename(name, f"later:{name}")
        worker = Worker("worker", self.folder, self.redis_server.url(), "-c", "6", "-E")
        try:
            time.sleep(3)  # until the worker has looked for other workers
            processes = [worker.pid, *children_of(worker)]
            memory = sum(map(proportional_memory, processes))
            print(row("a worker of 6 processes", memory=f"{number(memory / 1e6)} MB"))
            with self.paid("an idle worker, a second", processes, lambda: seconds):
                time.sleep(seconds)
            with self.paid("a task that a worker runs, one report in it", processes, lambda: count):
                for name in hidden:
                    self.redis.rename(f"later:{name}", name)
                while self.redis.llen("celery") or self.redis.keys("longtask:held:*"):
                    time.sleep(0.5)
        finally:
            worker.stop()

    # -- how -------------------------------------------------------------------------------------

    @property
    def web(self) -> list[int]:
        return children_of(self.ours)[:1]

    def under_load(self, what: str, rate: Callable[[], float]) -> float:
        """Measure the cost of each request under load. Returns the number of requests."""
        count = 0.0
        with self.paid(f"{what}, many at a time", self.web, lambda: count):
            count = rate() * self.size.seconds
        return count

    @contextmanager
    def paid(
        self,
        what: str,
        processes: Sequence[int],
        count: Callable[[], float],
        less: Counter[str] | None = None,
    ) -> Iterator[Counter[str]]:
        """Print the cost of the block, divided by `count`, without the costs in `less`."""
        spent: Counter[str] = Counter()
        before = self.accounts(processes)
        yield spent
        after = self.accounts(processes)
        spent.update({what: after[what] - before[what] for what in after})
        spent.subtract(["trips", "cmdstat_info"])  # the INFO command of this measurement
        each = {what: (spent[what] - (less or {}).get(what, 0)) / count() for what in spent}
        commands = {
            name.removeprefix("cmdstat_").upper(): calls
            for name, calls in each.items()
            if name.startswith("cmdstat_") and calls >= 0.05
        }
        print(
            row(
                what,
                f"{number(each['process'] * 1e6)} µs",
                f"{number(each['redis'] * 1e6)} µs",
                number(each["trips"]),
                ", ".join(f"{number(calls)} {name}" for name, calls in sorted(commands.items())),
            ),
            flush=True,
        )

    def accounts(self, processes: Sequence[int]) -> Counter[str]:
        info = self.redis.info("all")
        names = [name for name in info if name.startswith("cmdstat_")]
        accounts = Counter({name: info[name]["calls"] for name in names})
        accounts["process"] = sum(map(cpu_seconds, processes))
        accounts["redis"] = info["used_cpu_user"] + info["used_cpu_sys"]
        accounts["trips"] = info["total_reads_processed"]
        return accounts


def row(
    what: str,
    process: str = "",
    redis: str = "",
    trips: str = "",
    commands: str = "",
    memory: str = "",
) -> str:
    return f"| {what} | {process} | {redis} | {trips} | {commands} | {memory} |"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.costs", description=__doc__)
    parser.add_argument(
        "--short", action="store_true", help="run for some seconds, only to check that it works"
    )
    is_short = parser.parse_args().short
    size = SHORT if is_short else FULL._replace(seconds=5.0, stream_seconds=10.0, stored=100_000)
    print(f"{machine()}\n")
    print("| what | CPU of the process | CPU of Redis | round trips | Redis commands | memory |")
    print("| --- | ---: | ---: | ---: | --- | ---: |")
    with tempfile.TemporaryDirectory() as folder:
        costs = Costs(Path(folder), size)
        try:
            for part in (costs.polls, costs.starts, costs.streams, costs.reports, costs.workers):
                part()
        finally:
            costs.stop()


if __name__ == "__main__":
    main()
