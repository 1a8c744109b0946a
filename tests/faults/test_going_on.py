"""Tasks that keep checkpoints: after a kill or a deploy they go on, and so do their bars."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests

from tests.faults.system import System
from tests.processes import PATIENCE, wait_until


def steps(system: System, task_id: str) -> list[tuple[int, int]]:
    """The run and the number of each step that the task has begun, in their order."""
    lines: Any = system.redis.lrange(f"steps:{task_id}", 0, -1)
    return [(int(run), int(step)) for run, step in (line.split(b":") for line in lines)]


@contextmanager
def watched(system: System, task_id: str) -> Iterator[list[dict[str, Any]]]:
    """All that a client sees of a task in the meantime."""
    seen: list[dict[str, Any]] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.02):
            seen.append(system.status(task_id))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


def kill_the_process(system: System, task_id: str) -> None:
    os.kill(int(system.redis.lindex(f"runs:{task_id}", -1)), signal.SIGKILL)


def kill_the_worker(system: System, task_id: str) -> None:
    system.workers["first"].stop()
    system.worker("second")


def stop_the_worker(system: System, task_id: str) -> None:
    system.terminate("first")
    wait_until(lambda: not system.workers["first"].runs)
    system.worker("second")


@pytest.mark.parametrize("fault", [kill_the_process, kill_the_worker, stop_the_worker])
def test_the_next_attempt_goes_on_from_the_checkpoint_and_the_bar_never_falls(
    system: System, fault: Callable[[System, str], None]
) -> None:
    system.worker("first")
    task_id = system.start("going_on")
    wait_until(lambda: system.status(task_id)["current"] >= 20)

    with watched(system, task_id) as seen:
        fault(system, task_id)
        wait_until(
            lambda: seen and seen[-1]["attempt"] == 2 and seen[-1]["meta"] == {"run": 2},
            describe=lambda: seen[-1:],
        )

    first = [step for run, step in steps(system, task_id) if run == 1]
    second = [step for run, step in steps(system, task_id) if run == 2]
    assert second[0] in (first[-1], first[-1] + 1)
    shown = [task["current"] for task in seen]
    assert shown == sorted(shown)
    assert shown[0] >= 20
    system.cancel(task_id)
    wait_until(lambda: not system.redis.exists(f"longtask:checkpoint:{task_id}"))


def test_a_failed_task_is_started_again_with_each_broker(system: System) -> None:
    system.worker("worker")
    task_id = system.start("failing_at_first", "row 4")
    system.wait([task_id], state="FAILURE", restartable=True)

    address = f"{system.web.url}/status/{task_id}/restart"
    response = requests.post(address, timeout=PATIENCE)

    assert response.status_code == 202, response.text
    new_id = response.json()["task_id"]
    system.wait([new_id], state="SUCCESS", result="row 4", restart_of=task_id)
