"""Web server and workers whose clocks are hours apart from each other's and from Redis's: nobody can tell."""

import os
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.faults.clocks import clock_off_by
from tests.faults.system import LEASE, System
from tests.processes import wait_until

HOUR = 3600

#: Seconds by which what is told may differ from what is so on a busy machine. The clocks are hours apart.
ABOUT = 120

#: Seconds of the tasks that take long: three leases.
LONG = 3 * LEASE


class Skewed(NamedTuple):
    """A system whose clocks are apart, and tasks that were all started at the same time."""

    system: System
    since: float  # by the real clock, as is all that the tests compare with
    tasks: dict[str, str]

    def told(self, name: str) -> dict[str, Any]:
        return self.system.status(self.tasks[name])

    def wait(self, name: str, **expected: Any) -> dict[str, Any]:
        self.system.wait([self.tasks[name]], **expected)
        return self.told(name)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(("redis", 1), id="redis-web-ahead"),
        pytest.param(("redis", -1), id="redis-web-behind", marks=pytest.mark.long),
        pytest.param(("rabbitmq", 1), id="rabbitmq-web-ahead", marks=pytest.mark.long),
    ],
)
def skewed(request: pytest.FixtureRequest, folder: Path) -> Iterator[Skewed]:
    """Web server and two workers, each at least an hour off: from Redis and from each other."""
    kind, direction = request.param
    broker = request.getfixturevalue("rabbit_server") if kind == "rabbitmq" else None
    name = f"clocks-{kind}{direction:+}"
    system = System(name, folder, broker, web=clock_off_by(direction * HOUR))
    clocks = {"one": -direction * HOUR, "two": 2 * direction * HOUR}

    def start_worker(item: tuple[str, int]) -> None:
        system.worker(item[0], "-c", "8", **clock_off_by(item[1]))

    try:
        with ThreadPoolExecutor() as threads:
            list(threads.map(start_worker, clocks.items()))
        for worker, ahead in clocks.items():
            wait_until(lambda worker=worker: _hours(system, worker))
            # A moment ago the hour may have been another
            expected = {time.localtime(time.time() + ahead - ago).tm_hour for ago in (0, ABOUT)}
            assert _hours(system, worker)[-1] in expected
        since = time.time()
        due = (datetime.now(UTC) + timedelta(seconds=3)).isoformat()
        tasks = {
            "reporting": system.start("working", LONG),
            "silent": system.start("silent", LONG),
            "countdown": system.start("quick", countdown=3),
            "eta": system.start("quick", eta=due),
            "expired": system.start("quick", countdown=2, expires=1),
            "not expired": system.start("quick", expires=30),
        }
        yield Skewed(system, since, tasks)
    finally:
        system.stop()


def _hours(system: System, worker: str) -> list[int]:
    """The hours of the day that a worker writes into its log."""
    logged = re.findall(r"^\[[-\d]+ (\d+):", system.workers[worker].log.read_text(), re.MULTILINE)
    return [int(hour) for hour in logged]


def stamp(told: dict[str, Any], moment: str) -> float:
    return datetime.fromisoformat(told[moment]).timestamp()


# First, while its task still runs
def test_a_healthy_task_of_several_leases_runs_once_and_its_times_are_right(
    skewed: Skewed,
) -> None:
    # Given a task that runs
    seen: list[dict[str, Any]] = []

    def told() -> dict[str, Any]:
        seen.append(skewed.told("reporting"))
        return seen[-1]

    wait_until(lambda: told()["eta"] is not None)

    # Then the time left is right
    left = skewed.since + LONG - time.time()
    assert seen[-1]["eta"] == pytest.approx(left, abs=ABOUT)
    assert stamp(seen[-1], "submitted") == pytest.approx(skewed.since, abs=ABOUT)
    assert stamp(seen[-1], "started") == pytest.approx(skewed.since, abs=ABOUT)

    # And when it has ended, it and the silent one have run once, and nobody has spoken of a lost worker
    wait_until(lambda: told()["finished"])
    assert stamp(seen[-1], "finished") == pytest.approx(time.time(), abs=ABOUT)
    assert stamp(seen[-1], "finished") - stamp(seen[-1], "started") == pytest.approx(
        LONG, abs=ABOUT
    )
    assert not [task for task in seen if "lost" in task["status"]]
    for name in ("reporting", "silent"):
        skewed.wait(name, state="SUCCESS", attempt=1)
        assert skewed.system.runs(skewed.tasks[name]) == 1


def test_a_task_runs_when_it_is_due_by_a_clock_that_is_right(skewed: Skewed) -> None:
    for name in ("countdown", "eta"):
        told = skewed.wait(name, state="SUCCESS")
        assert skewed.since + 2.9 < stamp(told, "started") < skewed.since + 3 + 2 * ABOUT
        assert time.time() - skewed.since > 3


def test_a_task_expires_when_its_time_is_over_and_not_before(skewed: Skewed) -> None:
    skewed.wait("not expired", state="SUCCESS")
    skewed.wait("expired", state="REVOKED", status="Expired before it was started")


def test_the_time_that_is_told_for_a_scheduled_task_is_right(skewed: Skewed) -> None:
    task_id = skewed.system.start("quick", countdown=1000)

    words = skewed.system.status(task_id)["status"]

    assert words.startswith("Scheduled for ")
    due = datetime.fromisoformat(words.removeprefix("Scheduled for ")).timestamp()
    assert due - time.time() == pytest.approx(1000, abs=ABOUT)
    skewed.system.cancel(task_id)


def test_the_grace_of_a_cancel_is_kept(skewed: Skewed, took: dict[str, float]) -> None:
    # Given silent tasks, on both workers
    system = skewed.system
    task_ids = [system.start("silent", 60) for _ in range(9)]
    system.wait(task_ids, state="PROGRESS")
    wait_until(lambda: all(map(system.runs, task_ids)))
    assert {owner(system, task_id) for task_id in task_ids} == {"one", "two"}

    # When they are cancelled
    since = time.monotonic()
    for task_id in task_ids:
        system.cancel(task_id)

    # Then each is ended after its grace of a second, not at once and not in an hour
    def ended() -> list[str]:
        logs = "".join(worker.log.read_text() for worker in system.workers.values())
        return [i for i in task_ids if f"[{i}]: it was cancelled" in logs]

    wait_until(ended)
    assert time.monotonic() - since > 0.9
    wait_until(lambda: len(ended()) == len(task_ids))
    took["ended"] = time.monotonic() - since


def test_a_killed_workers_tasks_are_taken_up(skewed: Skewed, took: dict[str, float]) -> None:
    # Given two workers that run tasks
    system = skewed.system
    task_ids = [system.start("working", 60) for _ in range(10)]
    wait_until(lambda: all(map(system.runs, task_ids)), describe=lambda: system.statuses(task_ids))
    lost = [task_id for task_id in task_ids if owner(system, task_id) == "one"]
    assert 0 < len(lost) < len(task_ids)
    for task_id in [i for i in task_ids if i not in lost]:
        system.cancel(task_id)  # there must be room for those that are lost

    # When one of them is killed
    system.workers.pop("one").stop()

    # Then the other has its tasks
    since = time.monotonic()
    system.wait(lost, attempt=2)
    took["taken up"] = time.monotonic() - since
    for task in system.statuses(lost):
        assert task["status"].endswith("(started again after its worker was lost)")
        assert stamp(task, "started") == pytest.approx(time.time(), abs=2 * ABOUT)
        system.cancel(task["task_id"])


def owner(system: System, task_id: str) -> str:
    """The name of the worker that has started a task."""
    process = int(system.redis.lindex(f"runs:{task_id}", 0))  # type: ignore[arg-type]
    group = os.getpgid(process)
    return next(name for name, worker in system.workers.items() if worker.pid == group)
