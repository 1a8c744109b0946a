"""Every pool of Celery's: what is promised is kept in each, or the bar says what this pool cannot keep."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kombu
import pytest

from tests.faults.system import System
from tests.processes import RabbitServer, Worker, wait_until

pytestmark = pytest.mark.long

#: Pools that can end a task which does not end by itself. A thread cannot be ended, nor the worker's own.
STOPPING = ("prefork", "gevent")

POOLS = ("prefork", "threads", "gevent", "solo")

#: Seconds for which a cancelled task that cannot be ended is looked at: more than its grace and a look of its worker.
RUNS_ON = 5.0

AGAIN = "(started again after its worker was lost)"
UNSTOPPABLE = "Cancelled. Its worker cannot stop a running task, so it runs to its end."


class Workers:
    """The workers of one pool. Starting one takes longer than most tests, so that they share those which live."""

    def __init__(self, system: System, pool: str) -> None:
        self.system = system
        self.pool = pool
        self.can_stop_tasks = pool in STOPPING
        #: How many tasks one of them runs at a time.
        self.places = 1 if pool == "solo" else 2
        self._number = 0

    def one(self) -> str:
        """The name of the worker that there is."""
        names = [name for name, worker in self.system.workers.items() if worker.runs]
        return names[-1] if names else self.another()

    def another(self, *options: str) -> str:
        self._number += 1
        name = f"{self.pool}-{self._number}"
        self.system.worker(name, "-c", str(self.places), "--pool", self.pool, *options)
        return name

    def process(self, name: str) -> Worker:
        return self.system.workers[name]

    def end(self, name: str) -> None:
        self.system.workers.pop(name).stop()


@pytest.fixture(scope="module")
def pools(folder: Path) -> Iterator[System]:
    system = System("pools", folder)
    yield system
    system.stop()


@pytest.fixture(scope="module", params=POOLS)
def workers(request: pytest.FixtureRequest, pools: System) -> Iterator[Workers]:
    yield Workers(pools, request.param)
    pools.clear()


def start(system: System, task: str, *args: object, **options: object) -> str:
    """Start a task and wait until it runs."""
    task_id = system.start(task, *args, **options)
    system.wait([task_id], state="PROGRESS", attempt=1)
    return task_id


def test_a_task_reports_and_succeeds_and_one_that_raises_fails(workers: Workers) -> None:
    system = workers.system
    workers.one()

    task_id, failing = system.start("working_until_released"), system.start("failing")

    wait_until(lambda: system.status(task_id)["current"] > 0)
    assert system.status(task_id)["status"].startswith("Step ")
    system.release(task_id)
    system.wait([task_id], state="SUCCESS", percent=100, attempt=1)
    system.wait([failing], state="FAILURE", status="row 4 has no name", attempt=1)


def test_the_place_of_a_task_that_has_ended_is_taken_by_the_next(workers: Workers) -> None:
    system = workers.system
    workers.one()

    task_ids = [system.start("quick") for _ in range(6 * workers.places)]

    system.wait(task_ids, state="SUCCESS")


def test_a_cancelled_task_that_reports_stops_at_its_next_report(workers: Workers) -> None:
    system = workers.system
    log = workers.process(workers.one()).log
    task_id = start(system, "working", 300)
    said = len(log.read_text())

    system.cancel(task_id)

    # It has stopped, and was not ended from outside: its place is free again
    system.wait([task_id], state="REVOKED", status="Cancelled")
    after = [system.start("quick") for _ in range(workers.places)]
    system.wait(after, state="SUCCESS")
    words = log.read_text()[said:]
    assert "Ending " not in words
    assert "Traceback" not in words


def test_a_cancelled_task_that_is_silent_is_ended_or_said_to_run_on(
    workers: Workers, took: dict[str, float]
) -> None:
    # Given a worker whose places are all taken by silent tasks
    system = workers.system
    log = workers.process(workers.one()).log
    task_ids = [system.start("silent_until_released") for _ in range(workers.places)]
    system.wait(task_ids, state="PROGRESS")
    said = len(log.read_text())

    # When they are cancelled
    for task_id in task_ids:
        system.cancel(task_id)
    cancelled = time.monotonic()
    after = [system.start("quick") for _ in range(5)]

    if workers.can_stop_tasks:
        # Then they are ended soon after the grace of a second, and the place is another task's
        system.wait(task_ids, state="REVOKED", status="Cancelled")
        system.wait(after, state="SUCCESS")
        took["place free"] = time.monotonic() - cancelled
    else:
        # Then it is said that they run on, as long as they do
        system.wait(task_ids, state="REVOKED", status=UNSTOPPABLE)
        while time.monotonic() - cancelled < RUNS_ON:
            assert {task["status"] for task in system.statuses(task_ids)} == {UNSTOPPABLE}
            time.sleep(0.1)
        system.release(*task_ids)
        released = time.monotonic()
        system.wait(task_ids, state="REVOKED", status="Cancelled")
        took["said to have ended"] = time.monotonic() - released
        system.wait(after, state="SUCCESS")

    # And the worker has not complained
    words = log.read_text()[said:]
    assert "NotImplementedError" not in words
    assert "Traceback" not in words
    assert [system.runs(task_id) for task_id in task_ids] == [1] * len(task_ids)


def test_a_time_limit_is_kept_or_said_not_to_be(workers: Workers) -> None:
    system = workers.system
    workers.one()

    task_id = system.start("silent_until_released", time_limit=1)

    if workers.can_stop_tasks:
        system.wait([task_id], state="FAILURE")
        assert "1" in system.status(task_id)["status"]
        assert "lost" not in system.status(task_id)["status"]
    else:
        over = "Started (over its time limit of 1 s, but its worker cannot stop it)"
        system.wait([task_id], state="PROGRESS", status=over)
        system.release(task_id)
        system.wait([task_id], state="SUCCESS", result="done", attempt=1)


def test_a_task_that_stalls_is_ended_or_said_to_be_silent(workers: Workers) -> None:
    system = workers.system
    workers.one()

    task_id = system.start("stalling")

    if workers.can_stop_tasks:
        system.wait([task_id], attempt=2, status="Run 2 (started again after it stalled)")
        system.release(task_id)
        system.wait([task_id], state="SUCCESS", result="done", attempt=2)
    else:
        words = "silent for more than 2 s, but its worker cannot stop it"
        system.wait([task_id], state="PROGRESS", status=f"Run 1 ({words})")
        system.release(task_id)
        system.wait([task_id], state="SUCCESS", result="done", attempt=1)


def test_a_worker_that_is_stopped_hands_its_task_back_or_runs_it_to_its_end(
    workers: Workers, took: dict[str, float]
) -> None:
    # Given a worker that runs as many tasks as it can and has taken others in advance, and another worker
    system = workers.system
    workers.system.clear()
    # (In a gevent pool that is full, a worker which has taken more waits for a place and sees no signal.)
    in_advance = workers.pool in ("prefork", "threads")
    stopped = workers.another("--prefetch-multiplier", "2" if in_advance else "1")
    later = system.start("working", 0.2, countdown=4)
    running = [system.start("working_until_released") for _ in range(workers.places)]
    system.wait(running, state="PROGRESS", attempt=1)
    waiting = [system.start("working", 0.2) for _ in range(workers.places + 1)]
    if in_advance:
        wait_until(lambda: system.health()["waiting"] == 1)
    heir = workers.another()

    # When the first is stopped
    since = time.monotonic()
    system.terminate(stopped)
    seen: list[dict[str, Any]] = []

    if workers.can_stop_tasks:
        # Then the other goes on with all of them
        system.wait(running, attempt=2)
        took["taken up"] = time.monotonic() - since
        wait_until(
            lambda: seen.extend(system.statuses(running)) or not workers.process(stopped).runs
        )
        took["process ended"] = time.monotonic() - since
        for task_id in running:
            system.cancel(task_id)  # the others need their places
    else:
        # Then the other has at once what waited, and the first one's go on to their end
        system.wait(waiting, state="SUCCESS", attempt=1)
        took["waiting ones taken up"] = time.monotonic() - since
        assert all(task["attempt"] == 1 for task in system.statuses(running))
        system.release(*running)

    # And nobody ever speaks of a lost worker, and each ends well
    def have_ended() -> bool:
        seen.extend(system.statuses([*running, *waiting, later]))
        ended = [task["finished"] for task in seen[-len(waiting) - 1 :]]
        return all(ended) and not workers.process(stopped).runs

    wait_until(have_ended)
    if not workers.can_stop_tasks:
        system.wait(running, state="SUCCESS", attempt=1)
    seen.extend(system.statuses(running))
    assert not [task for task in seen if "lost" in task["status"]]
    told = [(task["state"], task["attempt"]) for task in system.statuses([*waiting, later])]
    assert told == [("SUCCESS", 1)] * len(told)
    attempts = 2 if workers.can_stop_tasks else 1
    assert [system.runs(task_id) for task_id in running] == [attempts] * len(running)
    assert workers.process(heir).runs
    workers.end(stopped)
    system.clear()


def test_when_a_worker_is_killed_another_has_its_task(
    workers: Workers, took: dict[str, float]
) -> None:
    system = workers.system
    doomed = workers.one()
    task_id = start(system, "working_until_released")
    workers.another()

    workers.end(doomed)

    since = time.monotonic()
    system.wait([task_id], attempt=2)
    took["taken up"] = time.monotonic() - since
    assert system.status(task_id)["status"].endswith(AGAIN)
    system.cancel(task_id)


@pytest.mark.parametrize("workers", ["prefork", "threads"], indirect=True)
def test_of_a_task_that_another_worker_has_taken_over_only_that_ones_attempt_counts(
    workers: Workers, took: dict[str, float]
) -> None:
    # Given a worker that runs a task which reports, and one which does not
    system = workers.system
    frozen = workers.one()
    how = ("working", "silent")
    reporting, silent = task_ids = [system.start(f"{each}_until_released") for each in how]
    system.wait(task_ids, state="PROGRESS", attempt=1)
    workers.another()

    # When it stands still for longer than the lease, and another has taken both over
    system.freeze(frozen)
    since = time.monotonic()
    system.wait(task_ids, attempt=2)
    took["taken up"] = time.monotonic() - since
    system.thaw(frozen)

    # Then neither a report nor the end of the first attempt is seen: nothing goes back, and each runs to its end
    seen: list[list[dict[str, Any]]] = []

    def look() -> list[dict[str, Any]]:
        seen.append(system.statuses(task_ids))
        return seen[-1]

    if workers.can_stop_tasks:
        log = workers.process(frozen).log
        ending = f"Ending tests.faults.tasks.silent_until_released[{silent}]"
        wait_until(lambda: look() and ending in log.read_text())
    else:
        system.release(*task_ids, run=1)
        wait_until(lambda: look() and system.redis.lrange(f"released:{silent}", 0, -1) == [b"1"])
    assert {task["state"] for task in look()} == {"PROGRESS"}
    system.release(*task_ids, run=2)
    wait_until(lambda: all(task["finished"] for task in look()))
    for told in zip(*seen, strict=True):
        assert [task["current"] for task in told] == sorted(task["current"] for task in told)
        assert {task["attempt"] for task in told} == {2}
        assert told[-1]["state"] == "SUCCESS"
    assert system.runs(reporting) == system.runs(silent) == 2
    workers.end(frozen)


@pytest.fixture
def pools_on_rabbitmq(folder: Path, rabbit_server: RabbitServer) -> Iterator[System]:
    system = System("pools-on-rabbitmq", folder, rabbit_server)
    yield system
    system.stop()


@pytest.mark.parametrize(("pool", "attempt"), [("threads", 1), ("gevent", 2)])
def test_the_same_with_a_broker_that_hands_out_again_what_a_closed_connection_held(
    pools_on_rabbitmq: System, pool: str, attempt: int, took: dict[str, float]
) -> None:
    # Given a worker that runs two tasks while others wait, and another worker
    system = pools_on_rabbitmq
    # (In a gevent pool that is full, a worker which has taken more waits for a place and sees no signal.)
    in_advance = "2" if pool == "threads" else "1"
    stopped = system.worker("stopped", "--pool", pool, "--prefetch-multiplier", in_advance)
    running = [system.start(f"{how}_until_released") for how in ("working", "silent")]
    system.wait(running, state="PROGRESS")
    waiting = [system.start("working", 0.2) for _ in range(3)]
    system.worker("heir", "--pool", pool, "-c", "3")

    # When the first is stopped
    since = time.monotonic()
    system.terminate("stopped")

    # Then the other runs them at once, or they go on to their end where they are
    with kombu.Connection(system.broker_url) as connection:
        channel = connection.channel()
        # It asks for no more, and gives up what waits there
        wait_until(lambda: channel.queue_declare("celery", passive=True).consumer_count == 1)
    system.wait(running, state="PROGRESS", attempt=attempt)
    took["taken up"] = time.monotonic() - since
    assert not [task for task in system.statuses(running) if "lost" in task["status"]]
    # What a worker with threads has taken in advance comes back when it has ended
    system.release(*running)
    system.wait([*running, *waiting], state="SUCCESS")
    assert [task["attempt"] for task in system.statuses(running)] == [attempt] * 2
    assert [system.runs(task_id) for task_id in running] == [attempt] * 2
    # And what waited there did not begin there
    began = {pid for task_id in waiting for pid in system.redis.lrange(f"runs:{task_id}", 0, -1)}
    assert str(stopped.pid).encode() not in began
    assert [system.runs(task_id) for task_id in waiting] == [1] * 3
    wait_until(lambda: not stopped.runs)
