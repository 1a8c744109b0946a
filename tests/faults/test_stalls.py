"""Tasks that say nothing for longer than their `stall_seconds` are ended and tried again. Slow ones are left alone."""

import re
import time

import pytest

from tests.faults.system import System
from tests.faults.test_going_on import watched
from tests.processes import wait_until

AGAIN = " (started again after it stalled)"
WAYS = ("report", "checkpoint", "track", "log")


def test_a_task_that_stalls_is_tried_again_and_not_for_ever(system: System) -> None:
    worker = system.worker("worker", "-c", "3")
    other = system.start("silent_until_released")
    task_id = system.start("stalling")

    with watched(system, task_id) as seen:
        system.wait([task_id], state="FAILURE")

    task = system.status(task_id)
    assert task["status"] == "It stalled: nothing was reported for 2 s, 3 times."
    assert (task["attempt"], task["percent"], system.runs(task_id)) == (3, 30, 3)
    sentences = {each["status"] for each in seen if each["state"] == "PROGRESS"}
    assert {"Run 1", f"Run 2{AGAIN}", f"Run 3{AGAIN}"} <= sentences
    assert {each["state"] for each in seen} <= {"PENDING", "PROGRESS", "FAILURE"}
    # The rest of its worker is none the worse, and is not called lost
    system.release(other)
    system.wait([other], state="SUCCESS", attempt=1)
    log = worker.log.read_text()
    assert len(re.findall("it has been silent for 2 s", log)) == 3
    assert "Traceback" not in log.partition("It stalled: nothing")[0]


def test_a_task_that_stalled_goes_on_from_its_checkpoint(system: System) -> None:
    system.worker("worker")
    task_id = system.start("stalling_once")

    system.wait([task_id], state="SUCCESS")

    task = system.status(task_id)
    assert (task["result"], task["attempt"], system.runs(task_id)) == (3, 2, 2)


def test_a_task_whose_message_is_gone_fails_when_it_stalls(system: System) -> None:
    system.worker("worker")
    task_id = system.start("stalling_with_its_message_gone", link_error=[])

    system.wait([task_id], state="FAILURE")

    task = system.status(task_id)
    assert task["status"] == "It stalled: nothing was reported for 2 s."
    assert (task["attempt"], system.runs(task_id)) == (1, 1)


def test_a_slow_task_has_not_stalled_whatever_it_says(system: System) -> None:
    system.worker("worker", "-c", "4")
    task_ids = [system.start("slow_but_not_stalled", way) for way in WAYS]

    system.wait(task_ids, state="SUCCESS")

    assert [system.runs(task_id) for task_id in task_ids] == [1] * len(WAYS)


def test_no_task_has_stalled_because_redis_was_away(on_redis: System) -> None:
    system = on_redis
    try:
        system.worker("worker")
        task_id = system.start("reporting_until_released")
        system.wait([task_id], state="PROGRESS", attempt=1)

        # When nothing can be said for longer than the task may be silent
        system.redis_server.pause()
        time.sleep(4)
        system.redis_server.resume()

        before = system.status(task_id)["current"]
        wait_until(lambda: system.status(task_id)["current"] > before)
        system.release(task_id)
        system.wait([task_id], state="SUCCESS", attempt=1)
    finally:
        system.clear()


@pytest.mark.long
def test_no_task_has_stalled_because_its_worker_stood_still(on_redis: System) -> None:
    system = on_redis
    try:
        system.worker("worker", LONGTASK_LEASE_SECONDS="3600")
        task_id = system.start("reporting_until_released")
        system.wait([task_id], state="PROGRESS", attempt=1)

        system.freeze("worker")
        time.sleep(5)
        system.thaw("worker")

        before = system.status(task_id)["current"]
        wait_until(lambda: system.status(task_id)["current"] > before)
        system.release(task_id)
        system.wait([task_id], state="SUCCESS", attempt=1)
    finally:
        system.clear()
