"""Messages, records and keys that are gone: the bar says so, or the task goes on; nothing waits for ever."""

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import kombu
import pytest
import requests
from redis import Redis

from flask_longtask.status import ENDED_STATES
from flask_longtask.store import Queue, Store
from tests.faults.system import System
from tests.processes import PATIENCE, RabbitServer, RedisServer, wait_until

NEVER_RAN = "Its message is gone: the queue was purged or lost. It never ran."


@pytest.fixture(scope="module")
def systems(folder: Path, rabbit_server: RabbitServer) -> Iterator[list[System]]:
    """With the broker in the Redis of the records, in another Redis, and with RabbitMQ."""
    broker = RedisServer("lost-broker", folder)
    brokers = {"redis": None, "second-redis": broker, "rabbitmq": rabbit_server}
    systems = [System(f"lost-{name}", folder, each) for name, each in brokers.items()]
    on_each(systems, lambda system: system.worker("worker", "-c", "2"))
    yield systems
    for system in systems:
        system.stop()
    broker.stop()


def on_each(systems: list[System], what: Callable[[System], Any]) -> None:
    """Call a function for each system in parallel, since most of its time is waiting."""
    with ThreadPoolExecutor() as threads:
        list(threads.map(what, systems))


def purge(system: System) -> None:
    """Purge the queue like `celery purge`, which takes seconds to begin."""
    with kombu.Connection(system.broker_url) as connection:
        connection.channel().queue_purge("celery")


def running(system: System, *seconds: float) -> list[str]:
    task_ids = [system.start("silent", how_long) for how_long in seconds]
    system.wait(task_ids, state="PROGRESS", attempt=1)
    return task_ids


def held_up(system: System, number: int = 2, how: str = "silent") -> list[str]:
    """Tasks that run until they are released."""
    task_ids = [system.start(f"{how}_until_released") for _ in range(number)]
    system.wait(task_ids, state="PROGRESS", attempt=1)
    return task_ids


@pytest.mark.long
def test_that_a_queue_was_purged_is_told_and_new_tasks_run(
    systems: list[System], took: dict[str, float]
) -> None:
    on_each(systems, lambda system: loses_its_queue(system, took))


def loses_its_queue(system: System, took: dict[str, float]) -> None:
    # Given a busy worker that holds a task for later, and tasks that wait
    later = system.start("quick", countdown=6)
    busy = held_up(system)
    behind = [system.start("quick") for _ in range(3)]
    chain = system.start_chain("quick", 3)
    wait_until(lambda: system.health()["waiting"] == 4)

    # When the queue is purged
    purge(system)
    since = time.monotonic()
    new = system.start("quick")
    system.release(*busy)

    # Then the tasks that waited there end, and so do the tasks that were to follow one of them
    system.wait([*behind, chain[0]], state="FAILURE", status=NEVER_RAN)
    took[system.name] = time.monotonic() - since
    system.wait(chain[1:], state="FAILURE")

    # And all other tasks run
    system.wait([*busy, later, new], state="SUCCESS", attempt=1)

    # And later tasks do not count them as ahead
    busy = held_up(system)
    first, second = system.start("quick"), system.start("quick")
    system.wait([first], status="Pending...")
    system.wait([second], status="Waiting: 1 task ahead")
    system.release(*busy)
    system.wait([first, second], state="SUCCESS")


@pytest.mark.long
def test_tasks_that_a_worker_holds_or_that_wait_behind_busy_ones_are_not_declared_lost(
    systems: list[System],
) -> None:
    on_each(systems, loses_nothing)


def loses_nothing(system: System) -> None:
    # Given a worker that is busy for long, holds scheduled tasks and has taken two in advance; and tasks behind them
    system.workers.pop("worker").stop()
    system.worker("worker", "-c", "2", "--prefetch-multiplier", "2")
    busy = running(system, 15, 15)
    later = [system.start("quick", countdown=16) for _ in range(3)]
    others = [system.start("quick") for _ in range(8)]
    # And a task in a queue that no setting names and no worker serves yet
    others.append(system.start("quick", queue="elsewhere"))

    # Then as long as this lasts, the status of each of them is PENDING
    since = time.monotonic()
    while time.monotonic() - since < 15:
        told = system.statuses([*later, *others])
        if not [task for task in system.statuses(busy) if task["state"] != "PROGRESS"]:
            assert {task["state"] for task in told} == {"PENDING"}
        assert not [task for task in told if "gone" in task["status"]]
        time.sleep(0.2)

    # And each is run once
    system.worker("elsewhere", "-Q", "elsewhere")
    system.wait([*busy, *later, *others], state="SUCCESS", attempt=1)


def delete(redis: Redis, task_id: str) -> None:
    redis.delete(f"longtask:task:{task_id}")


def overwrite(redis: Redis, task_id: str) -> None:
    redis.set(f"longtask:task:{task_id}", "{not JSON")


def overwrite_with_wrong_types(redis: Redis, task_id: str) -> None:
    record = {"running": "x", "attempt": "many", "worker": 7, "ended": [], "queue": {}, "lost": ""}
    redis.set(f"longtask:task:{task_id}", json.dumps(record))


def replace_by_a_list(redis: Redis, task_id: str) -> None:
    redis.delete(f"longtask:task:{task_id}")
    redis.rpush(f"longtask:task:{task_id}", "what is this?")


def flush(redis: Redis, task_id: str) -> None:
    redis.flushall()


#: What may happen to a record.
SPOIL = (delete, overwrite, overwrite_with_wrong_types, replace_by_a_list)


@pytest.mark.parametrize("how", [SPOIL, (flush,)], ids=["records", "all"])
def test_a_task_whose_record_is_spoilt_while_it_runs_goes_on_and_its_bar_too(
    systems: list[System], how: tuple[Callable[[Redis, str], None], ...]
) -> None:
    on_each(systems, lambda system: goes_on(system, how))


def goes_on(system: System, how: tuple[Callable[[Redis, str], None], ...]) -> None:
    # Given tasks that run
    system.workers.pop("worker").stop()
    system.worker("worker", "-c", "8")
    reporting = held_up(system, len(how), "working")
    silent = held_up(system, len(how))
    wait_until(lambda: all(task["current"] >= 2 for task in system.statuses(reporting)))

    # When their records are damaged
    for task_ids in (reporting, silent):
        for task_id, spoil in zip(task_ids, how, strict=True):
            spoil(system.redis, task_id)

    # Then the bars go on from the next report, and all end well
    before = {}
    for task_id, spoil in zip(reporting, how, strict=True):
        wait_until(
            lambda task_id=task_id: told(system, task_id).get("state") == "PROGRESS",
            describe=lambda spoil=spoil: spoil,
        )
        before[task_id] = told(system, task_id)["current"]
        assert before[task_id] >= 2
    for task_id in reporting:
        wait_until(lambda task_id=task_id: told(system, task_id)["current"] > before[task_id])
    system.release(*reporting, *silent)
    system.wait(reporting, state="SUCCESS", percent=100)
    for task_id in silent:
        wait_until(lambda task_id=task_id: told(system, task_id).get("state") == "SUCCESS")
        assert told(system, task_id)["result"] == "done"
    if flush not in how:
        assert [system.runs(task_id) for task_id in (*reporting, *silent)] == [1] * 2 * len(how)


def told(system: System, task_id: str) -> dict[str, Any]:
    """The status of a task, or None for a 404."""
    answer = requests.get(f"{system.web.url}/status/{task_id}", timeout=PATIENCE)
    assert answer.status_code in (200, 404), answer.text
    return dict(answer.json()) if answer.ok else {}


@pytest.mark.long
def test_a_bar_whose_web_server_died_before_it_had_published_ends(
    systems: list[System], took: dict[str, float]
) -> None:
    # Where the broker is the store, recording and publishing are one step
    on_each(systems[1:], lambda system: ends_what_was_not_sent(system, took))


def ends_what_was_not_sent(system: System, took: dict[str, float]) -> None:
    # Given a task that is recorded, and nothing more
    task_id = str(uuid4())
    store = Store(system.redis)
    store.tasks.accept(task_id, {"task": "quick"}, Queue("celery"), nonce="1")
    since = time.monotonic()
    assert system.status(task_id)["state"] == "PENDING"

    # Then its bar ends
    system.wait([task_id], state="FAILURE", status="Its message was not sent. It never ran.")
    took[system.name] = time.monotonic() - since


@pytest.fixture(scope="module")
def forgetful(folder: Path) -> Iterator[System]:
    system = System("forgetful", folder, LONGTASK_RESULT_EXPIRES="2")
    yield system
    system.stop()


@pytest.mark.long
def test_only_the_end_of_a_task_starts_the_time_after_which_it_is_forgotten(
    forgetful: System,
) -> None:
    # Given a task that waits for a worker longer than results are kept
    system = forgetful
    waiting = system.start("silent", 3)
    since = time.monotonic()
    while time.monotonic() - since < 2.5:
        assert told(system, waiting)["state"] == "PENDING"
        time.sleep(0.1)

    # And others that are scheduled, or run silently, for longer than that
    ends: dict[str, dict[str, Any]] = {}
    with system.redis.pubsub(ignore_subscribe_messages=True) as changes:
        changes.psubscribe("celery-task-meta-*")
        system.worker("worker", "-c", "3")
        later = system.start("quick", countdown=3)
        failing = system.start("silent", 60, time_limit=3)

        def all_have_ended() -> bool:
            for task_id in (waiting, later, failing):
                is_known = bool(told(system, task_id))
                # Each end is published: on a busy machine the task may be forgotten before it is asked for
                while message := changes.get_message():
                    meta = json.loads(message["data"])
                    if meta["status"] in ENDED_STATES:
                        ends[meta["task_id"]] = meta
                assert is_known or task_id in ends, "It is unknown while it waits or runs."
            return len(ends) == 3

        wait_until(all_have_ended)

    # Then each ends as usual
    assert [ends[i]["status"] for i in (waiting, later, failing)] == [
        *("SUCCESS", "SUCCESS", "FAILURE"),
    ]

    # And is unknown soon after its end, and nothing is left of it
    for task_id, meta in ends.items():
        wait_until(lambda task_id=task_id: not told(system, task_id))
        assert time.time() - datetime.fromisoformat(meta["date_done"]).timestamp() > 1.5
    system.redis.delete(*(f"runs:{task_id}" for task_id in ends))
    system.workers.pop("worker").stop()
    for key in system.redis.scan_iter("*"):
        assert not [i for i in ends if i in key.decode()], key
        kind = system.redis.type(key).decode()
        read = {
            "string": lambda key: [system.redis.get(key)],
            "list": lambda key: system.redis.lrange(key, 0, -1),
            "set": system.redis.smembers,
            "zset": lambda key: system.redis.zrange(key, 0, -1),
            "hash": system.redis.hvals,
        }[kind](key)
        is_bounded = b"browser" in key or key.endswith(b":ended")  # 100 tasks, and 1,000
        if not is_bounded:
            assert not [i for i in ends if any(i in str(value) for value in read)], key
