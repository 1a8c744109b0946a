"""Tasks that do not stop when cancelled, and tasks that stop their process: neither blocks a worker for long."""

import os
import signal
import time

import pytest

from scripts.run.stopping import runs as process_runs
from tests.faults.system import System
from tests.processes import wait_until


def process_of(system: System, task_id: str) -> int:
    wait_until(lambda: system.runs(task_id) == 1)
    pids: list[bytes] = system.redis.lrange(f"runs:{task_id}", 0, -1)  # type: ignore[assignment]
    return int(pids[0])


@pytest.mark.parametrize(
    ("task", "args"), [("stubborn", [300]), ("stopped", []), ("silent", [300])]
)
def test_a_cancelled_task_that_does_not_stop_gives_its_place_free(
    system: System, task: str, args: list[object], took: dict[str, float]
) -> None:
    worker = system.worker("worker", "-c", "1")
    task_id = system.start(task, *args)
    pid = process_of(system, task_id)

    system.cancel(task_id)
    since = time.monotonic()
    assert system.status(task_id)["state"] == "REVOKED"

    # Its process has ended, and the worker's only process slot is free for another task
    wait_until(lambda: not process_runs(pid))
    took["gone"] = time.monotonic() - since
    system.wait([system.start("quick")], state="SUCCESS")
    assert system.status(task_id)["status"] == "Cancelled"
    assert worker.runs


@pytest.mark.parametrize(("task", "is_cancelled"), [("stubborn", True), ("stopped", False)])
def test_a_worker_that_is_told_to_stop_does_not_wait_for_such_a_task(
    system: System, task: str, is_cancelled: bool, took: dict[str, float]
) -> None:
    worker = system.worker("worker", LONGTASK_CANCEL_GRACE_SECONDS="300")
    task_id = system.start(task, *([300] if task == "stubborn" else []))
    pid = process_of(system, task_id)
    if is_cancelled:
        system.cancel(task_id)

    since = time.monotonic()
    system.terminate("worker")

    wait_until(lambda: not worker.runs)
    took["stopped"] = time.monotonic() - since
    wait_until(lambda: not process_runs(pid))
    # A task that was not cancelled waits for another worker, and its worker does not count as lost
    if not is_cancelled:
        assert system.status(task_id)["state"] == "PENDING"
        assert "lost" not in system.status(task_id)["status"]


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_a_task_that_ends_its_process_has_failed_in_one_attempt(system: System, pool: str) -> None:
    worker = system.worker("worker", "-P", pool)
    told = {
        system.start("exiting", 3): "The task was ended by SystemExit: 3",
        system.start("exiting", 0): "The task was ended by SystemExit: 0",
        system.start("exiting", None): "The task was ended by SystemExit",
        system.start("exiting", "No rows"): "The task was ended by SystemExit: No rows",
        system.start("out_of_memory"): "The task was ended by MemoryError",
        system.start("interrupted"): "The task was ended by KeyboardInterrupt",
    }

    system.wait(told, state="FAILURE", attempt=1)

    assert {task["task_id"]: task["status"] for task in system.statuses(told)} == told
    assert [system.runs(task_id) for task_id in told] == [1] * len(told)
    # The worker goes on, and has lost no process
    system.wait([system.start("quick")], state="SUCCESS")
    assert worker.runs
    assert "WorkerLostError" not in worker.log.read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_its_process_is_no_failure_of_the_task(
    on_redis: System, number: signal.Signals
) -> None:
    system = on_redis
    system.worker("worker")
    try:
        task_id = system.start("silent_until_released")

        os.kill(process_of(system, task_id), number)

        # As with any lost process, the task is run again
        system.wait([task_id], attempt=2)
        system.release(task_id)
        system.wait([task_id], state="SUCCESS", attempt=2)
    finally:
        system.clear()
