"""Workers that are killed, frozen, cut off and stopped: each task goes on elsewhere, and no other runs twice."""

import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.faults.system import LEASE, System
from tests.processes import PATIENCE, ROOT, Process, Wire, wait_until

AGAIN = "(started again after its worker was lost)"


def start_after(system: System, task: str, *args: object, **options: object) -> str:
    """Start a task and wait until it runs."""
    task_id = system.start(task, *args, **options)
    system.wait([task_id], state="PROGRESS", attempt=1)
    return task_id


def taken_up_again(system: System, task_ids: list[str]) -> float:
    """Wait until each is in its second attempt, and return how long that took."""
    since = time.monotonic()
    system.wait(task_ids, attempt=2)
    return time.monotonic() - since


def test_when_a_worker_is_killed_another_has_all_its_tasks(
    system: System, took: dict[str, float]
) -> None:
    # Given a worker that runs two tasks, has taken two more in advance, and holds one for later
    doomed = system.worker("doomed", "--prefetch-multiplier", "2")
    running = [system.start("working", 60), system.start("silent", 60)]
    system.wait(running, state="PROGRESS")
    prefetched = [system.start("quick") for _ in range(2)]
    scheduled = system.start("quick", countdown=LEASE + 3)
    system.worker("heir", "-c", "6")

    # When it is killed with all its processes
    doomed.stop()

    # Then the other has each of them, and the bar says what happened
    took["killed"] = taken_up_again(system, running)
    for task in system.statuses(running):
        assert (task["state"], task["status"][-len(AGAIN) :]) == ("PROGRESS", AGAIN)
    system.wait(prefetched, state="SUCCESS", attempt=1)
    system.wait([scheduled], state="SUCCESS", attempt=1)
    wait_until(lambda: [system.runs(task_id) for task_id in running] == [2, 2])

    # And when that one dies too, and nobody is left, the bars say so as well
    system.workers["heir"].stop()
    since = time.monotonic()
    lost = "(its worker was lost; it will be started again)"
    wait_until(lambda: all(task["status"].endswith(lost) for task in system.statuses(running)))
    took["nobody left"] = time.monotonic() - since


def test_a_task_whose_process_is_killed_is_started_again_at_once_and_not_for_ever(
    system: System, took: dict[str, float]
) -> None:
    system.worker("worker", "-c", "3")
    task_id = start_after(system, "working_until_released")
    other = start_after(system, "working_until_released")
    wait_until(lambda: system.runs(task_id))

    # When only the process is killed that runs the task
    os.kill(int(system.redis.lindex(f"runs:{task_id}", 0)), signal.SIGKILL)
    took["child killed"] = taken_up_again(system, [task_id])
    assert system.status(task_id)["status"].endswith(AGAIN)

    # And another task takes its process along each time
    since = time.monotonic()
    poison = system.start("killing_its_child")
    system.wait([poison], state="FAILURE")
    took["poisonous task given up"] = time.monotonic() - since

    # Then that one ends, and says why, and the others end well
    assert "lost 3 times" in system.status(poison)["status"]
    assert system.runs(poison) == 3
    system.release(task_id, other)
    system.wait([task_id, other], state="SUCCESS")
    assert [system.runs(task_id), system.runs(other)] == [2, 1]


@pytest.mark.long
def test_a_task_that_kills_its_worker_each_time_ends_as_failure_and_holds_nobody_up(
    system: System, took: dict[str, float]
) -> None:
    # Given two workers that are started again when they have died
    def supervise() -> None:
        for worker in system.workers.values():
            if not worker.runs:
                worker.start()

    system.start_workers("one", "two")
    since = time.monotonic()
    poison = system.start("killing_its_worker")
    wait_until(lambda: system.runs(poison))
    others = [system.start("quick") for _ in range(5)]

    def ended() -> bool:
        supervise()
        return system.status(poison)["state"] == "FAILURE"

    wait_until(ended, describe=lambda: system.status(poison))
    took["worker killed three times"] = time.monotonic() - since

    task = system.status(poison)
    assert task["status"] == "Its worker was lost 3 times, so it is not started again."
    assert (system.runs(poison), task["attempt"]) == (3, 3)
    supervise()
    system.wait(others, state="SUCCESS")


@pytest.fixture
def both(on_redis: System, on_rabbitmq: System) -> Iterator[list[System]]:
    yield [on_redis, on_rabbitmq]
    for system in (on_redis, on_rabbitmq):
        system.clear()


def hold(system: System) -> list[str]:
    """Start nine tasks: three of ten times the lease, and six that the worker of one of those holds meanwhile."""
    # Three for later, then three taken in advance: those for later count as taken only when they are due
    system.worker("holder", "-c", "1", "--prefetch-multiplier", "4")
    task_ids = [start_after(system, "silent", 10 * LEASE)]
    task_ids += [system.start("working", 0.2, countdown=LEASE * part) for part in (0.5, 2, 4)]
    task_ids += [system.start("working", 0.2) for _ in range(3)]
    wait_until(lambda: system.health()["waiting"] == 0)
    # And others that would have them if they came again, and are as busy
    system.start_workers("other", "third")
    return task_ids + [start_after(system, "silent", 10 * LEASE) for _ in range(2)]


@pytest.mark.long
def test_a_task_ten_times_as_long_as_the_lease_runs_once(both: list[System]) -> None:
    with ThreadPoolExecutor() as threads:
        tasks = list(threads.map(hold, both))

    for system, task_ids in zip(both, tasks, strict=True):
        system.wait(task_ids, state="SUCCESS", attempt=1)
        assert [system.runs(task_id) for task_id in task_ids] == [1] * 9


@pytest.mark.long
def test_a_worker_that_was_frozen_gives_up_what_another_has_taken_over(
    system: System, took: dict[str, float]
) -> None:
    # Given a worker that runs two tasks, one of which reports, and has taken others in advance and for later
    system.worker("frozen", "-c", "2", "--prefetch-multiplier", "2")
    task_id, silent = system.start("working_until_released"), system.start("silent", 60)
    system.wait([task_id, silent], state="PROGRESS", attempt=1)
    until = "working_until_released"
    held = [system.start(until), system.start(until, countdown=1)]
    system.worker("heir", "-c", "5")

    # When it stands still for longer than the lease, with one more task in its socket perhaps
    system.freeze("frozen")
    took["frozen"] = taken_up_again(system, [task_id, silent])
    system.wait(held, state="PROGRESS")
    system.thaw("frozen")
    took_over = time.monotonic()

    # Then its copies are stopped, nothing of what they write is seen, and the other's go on
    log = system.workers["frozen"].log
    wait_until(lambda: f"Ending tests.faults.tasks.silent[{silent}]" in log.read_text())
    took["copy stopped"] = time.monotonic() - took_over
    seen = [system.status(task_id)]
    wait_until(
        lambda: seen.append(system.status(task_id)) or seen[-1]["current"] > seen[0]["current"]
    )
    system.release(task_id, run=2)  # the first is not let go on
    system.release(*held)
    wait_until(lambda: seen.append(system.status(task_id)) or seen[-1]["finished"])
    assert [task["current"] for task in seen] == sorted(task["current"] for task in seen)
    assert (seen[-1]["state"], seen[-1]["attempt"], system.runs(task_id)) == ("SUCCESS", 2, 2)
    system.wait(held, state="SUCCESS", attempt=1)
    assert [system.runs(other) for other in held] == [1, 1]


@pytest.mark.long
def test_a_worker_that_was_frozen_works_again_in_all_of_its_places(system: System) -> None:
    # Given a worker that was frozen until another had taken its silent tasks over
    system.worker("frozen")
    lost = [system.start("silent_until_released") for _ in range(2)]
    system.wait(lost, state="PROGRESS", attempt=1)
    system.worker("heir")
    system.freeze("frozen")
    taken_up_again(system, lost)
    system.thaw("frozen")
    log = system.workers["frozen"].log
    wait_until(
        lambda: all(f"[{task_id}]: another worker runs it" in log.read_text() for task_id in lost)
    )
    for task_id in lost:
        system.release(task_id, run=2)  # the first is not let go on
    system.wait(lost, state="SUCCESS", attempt=2)

    # When the other is gone
    system.workers.pop("heir").stop()

    # Then it runs as many tasks as it has processes
    new = [system.start("working_until_released") for _ in range(2)]
    system.wait(new, state="PROGRESS", attempt=1)
    system.release(*new)
    system.wait(new, state="SUCCESS", attempt=1)


@pytest.mark.long
def test_a_worker_that_has_not_yet_said_that_it_has_taken_a_task_over_keeps_it(
    system: System,
) -> None:
    # Given a worker that dies, and another for which it takes some time from having the task to saying so
    doomed = system.worker("doomed")
    task_id = start_after(system, "slow_to_begin")
    doomed.stop()
    system.worker("heir")

    # Then it is not ended as one that the dead worker runs
    taken_up_again(system, [task_id])
    system.release(task_id)
    system.wait([task_id], state="SUCCESS")
    assert system.runs(task_id) == 2


def test_what_is_sent_to_a_worker_that_is_frozen_is_not_lost(system: System) -> None:
    # Given an idle worker that has just asked for a message, and stands still
    system.worker("frozen")
    time.sleep(1.5)
    system.freeze("frozen")

    # When tasks are started and nobody else is there, until it is killed
    task_ids = [system.start("quick") for _ in range(6)]
    time.sleep(0.5)
    system.workers["frozen"].stop()
    system.worker("heir")

    # Then none of them has gone with it
    system.wait(task_ids, state="SUCCESS")


@pytest.fixture
def wire(system: System) -> Iterator[Wire]:
    broker_port = int(system.broker_url.rsplit(":", 1)[1].partition("/")[0])
    wire = Wire(broker_port)
    yield wire
    wire.close()


@pytest.mark.long
def test_a_worker_that_was_cut_off_from_its_broker_gives_up_what_another_has_taken_over(
    system: System, wire: Wire
) -> None:
    # Given a worker behind a wire, that runs one task
    own_port, wire_port = str(wire._target), str(wire.port)
    settings = {"CELERY_BROKER_URL": system.broker_url.replace(own_port, wire_port)}
    if system.broker_url.startswith("redis"):
        settings["CELERY_RESULT_BACKEND"] = settings["CELERY_BROKER_URL"]
        settings["REDIS_URL"] = settings["CELERY_BROKER_URL"]
    cut_off = system.worker("cut-off", "-c", "1", **settings)
    task_id = start_after(system, "working_until_released")
    system.worker("heir")

    # When the wire is cut for longer than the lease
    wire.cut()
    taken_up_again(system, [task_id])
    wire.mend()

    # Then it stops its copy, and the other's goes on to the end
    system.release(task_id, run=2)  # the first is not let go on
    seen = []
    wait_until(lambda: seen.append(system.status(task_id)) or seen[-1]["finished"])
    assert [task["current"] for task in seen] == sorted(task["current"] for task in seen)
    assert (seen[-1]["state"], seen[-1]["attempt"], system.runs(task_id)) == ("SUCCESS", 2, 2)

    # And works again
    system.workers["heir"].stop()
    assert cut_off.runs
    system.wait([system.start("quick")], state="SUCCESS")


def test_a_worker_that_is_stopped_hands_its_tasks_back_at_once(
    system: System, took: dict[str, float]
) -> None:
    stopped = system.worker("stopped")
    running = [system.start(f"{how}_until_released") for how in ("working", "silent")]
    system.wait(running, state="PROGRESS")
    prefetched = [system.start("quick") for _ in range(2)]
    system.worker("heir", "-c", "4")

    os.kill(stopped.pid, signal.SIGTERM)

    # At once: no lease has to lapse, and nobody says that a worker was lost
    took["stopped"] = taken_up_again(system, running)
    assert all("lost" not in task["status"] for task in system.statuses(running))
    wait_until(lambda: not stopped.runs)
    system.release(*running)
    system.wait(running + prefetched, state="SUCCESS")
    assert [system.runs(task_id) for task_id in running] == [2, 2]


def test_a_chord_is_told_of_a_task_whose_process_died_at_the_end(on_redis: System) -> None:
    on_redis.worker("worker")
    try:
        url = f"{on_redis.web.url}/start-chord/quick/whose_process_dies_before_it_counts"
        first, second, body = requests.post(url, timeout=PATIENCE).json()

        on_redis.wait([first, second, body], state="SUCCESS")
        assert (on_redis.runs(second), on_redis.runs(body)) == (1, 1)
    finally:
        on_redis.clear()


def test_a_chord_is_told_of_a_task_whose_worker_died_at_the_end(system: System) -> None:
    system.worker("doomed", "-c", "1")
    url = f"{system.web.url}/start-chord/quick/dying_before_it_counts"
    first, second, body = requests.post(url, timeout=PATIENCE).json()
    wait_until(lambda: not system.workers["doomed"].runs)

    system.worker("heir")

    system.wait([first, second, body], state="SUCCESS")
    assert (system.runs(second), system.runs(body)) == (1, 1)


@pytest.mark.long
def test_ctrl_c_of_run_sh_loses_nothing(
    system: System, folder: Path, took: dict[str, float]
) -> None:
    # Given a worker as ./run.sh starts it, which runs a task
    command = [sys.executable, "-m", "scripts.run", "worker"]
    # In a folder of its own, since it refuses to start beside another in the same one.
    leave_out = shutil.ignore_patterns(".*", "instance", "node_modules", "tests", "docs")
    copy = shutil.copytree(ROOT, folder / f"{system.name}-copy", ignore=leave_out)
    terminal = Process(f"{system.name}-run", command, folder, system.web.environment, cwd=copy)
    try:
        answer = requests.post(
            f"{system.web.url}/longtask", json={"steps": 1000, "delay": 0.2}, timeout=PATIENCE
        )
        task_id = answer.json()["task_id"]
        system.wait([task_id], state="PROGRESS")
        system.worker("heir")

        os.kill(terminal.pid, signal.SIGINT)

        took["Ctrl-C"] = taken_up_again(system, [task_id])
        wait_until(lambda: not terminal.runs)
    finally:
        terminal.stop()


def test_a_message_that_comes_again_after_its_task_has_ended_is_not_run_again(
    on_redis: System,
) -> None:
    system = on_redis
    try:
        # Given a task that has ended, whose worker died before it could acknowledge the message
        task_id = system.start("working", 0.2)
        (message,) = system.redis.lrange("celery", 0, -1)
        system.worker("worker")
        system.wait([task_id], state="SUCCESS")
        ended = system.status(task_id)

        # When the message comes again
        system.redis.rpush("celery", message)
        wait_until(lambda: not system.redis.llen("celery"))
        system.wait([system.start("quick")], state="SUCCESS")
        time.sleep(0.5)

        assert system.runs(task_id) == 1
        assert system.status(task_id) == ended
    finally:
        system.clear()
