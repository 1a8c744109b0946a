"""Redis stopped, frozen, full and read-only: every request is answered at once, and nothing that runs ends."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.faults.system import System
from tests.processes import free_port, wait_until

#: Seconds in which every request must be answered.
PROMISE = 2.0

#: Seconds that a fault lasts: longer than the lease.
FAULT = 4.0


@pytest.fixture(scope="module")
def system(folder: Path) -> Iterator[System]:
    system = System("away", folder)
    system.start_workers("one", "two")
    yield system
    system.stop()


@contextmanager
def stopped(system: System) -> Iterator[None]:
    system.redis_server.shut_down()
    try:
        yield
    finally:
        system.redis_server.start()


@contextmanager
def frozen(system: System) -> Iterator[None]:
    system.redis_server.pause()
    try:
        yield
    finally:
        system.redis_server.resume()


@contextmanager
def paused(system: System) -> Iterator[None]:
    system.redis.client_pause(int(FAULT * 1000))  # which holds CLIENT UNPAUSE up, too
    yield


@contextmanager
def full(system: System) -> Iterator[None]:
    system.redis.config_set("maxmemory-policy", "noeviction")
    system.redis.config_set("maxmemory", 1)
    try:
        yield
    finally:
        system.redis.config_set("maxmemory", 0)


@contextmanager
def read_only(system: System) -> Iterator[None]:
    system.redis.replicaof("127.0.0.1", free_port())
    try:
        yield
    finally:
        system.redis.replicaof("NO", "ONE")


Fault = Callable[[System], AbstractContextManager[None]]


@pytest.mark.parametrize("fault", [stopped, frozen, paused, full, read_only])
def test_while_redis_is_away_all_is_answered_and_tasks_go_on(
    system: System, fault: Fault, took: dict[str, float]
) -> None:
    # Given a browser that has started tasks, of which one runs and one has ended
    browser = requests.Session()
    browser.get(system.web.url)
    ended = system.start("quick")
    running = [system.start("working", FAULT + 2), system.start("silent", FAULT + 2)]
    system.wait([ended], state="SUCCESS")
    system.wait(running, state="PROGRESS")
    url, task_id = system.web.url, running[0]
    page, status = {"Accept": "text/html"}, f"{url}/status/{task_id}"
    reads = [
        lambda: browser.get(status, timeout=10),
        lambda: browser.get(status, headers=page, timeout=10),
        lambda: browser.get(f"{url}/status", params={"id": [task_id, ended]}, timeout=10),
        lambda: browser.get(f"{url}/tasks", timeout=10),
    ]
    writes = [
        lambda: browser.delete(f"{url}/status/{task_id}", timeout=10),
        lambda: browser.post(f"{url}/longtask", timeout=10),
        lambda: browser.post(f"{url}/longtask", headers=page, timeout=10),
        lambda: browser.post(f"{url}/start/quick", json={"countdown": 60}, timeout=10),
    ]
    others = [
        lambda: browser.get(url, timeout=10),
        lambda: browser.get(f"{url}/health", timeout=10),
    ]
    cannot_be_read = fault in (stopped, frozen, paused)

    with fault(system):
        since = time.monotonic()
        time.sleep(1.1)  # /health looks once a second
        # Everything at the same moment, and then once more
        answers: list[requests.Response] = []
        asked = [*reads, *writes, *others]
        for _ in range(2):
            with ThreadPoolExecutor(len(asked)) as threads:
                answers += threads.map(lambda ask: ask(), asked)

        for index, answer in enumerate(answers):
            kind = index % 10
            if kind == 8:
                assert answer.status_code == 200
            elif kind == 9:
                assert answer.status_code == 503
                told = "down" if cannot_be_read else "read-only"
                assert answer.json() == {"redis": told, "workers": None, "waiting": None}
            elif kind >= 4 or cannot_be_read:
                assert answer.status_code == 503, (kind, answer.text)
                title = "Service Unavailable"
                if answer.request.headers["Accept"] == "text/html":
                    assert title in answer.text
                else:
                    assert answer.headers["Content-Type"] == "application/problem+json"
                    assert answer.json()["title"] == title
            else:
                assert answer.status_code == 200, (kind, answer.text)
                assert "lost" not in answer.text
                assert "no worker" not in answer.text
            if answer.status_code == 503:
                assert int(answer.headers["Retry-After"]) > 0
        took["longest answer"] = max(answer.elapsed.total_seconds() for answer in answers)
        assert took["longest answer"] < PROMISE
        time.sleep(max(0, FAULT - (time.monotonic() - since)))

    # When it is back, then nobody says that a worker was lost, the task has gone on, and its bar catches up
    since = time.monotonic()
    wait_until(lambda: requests.get(f"{url}/health", timeout=5).status_code == 200)
    took["healthy again"] = time.monotonic() - since
    tasks: list[dict[str, Any]] = []

    def all_ended() -> bool:
        tasks.extend(system.statuses(running))
        return all(task["finished"] for task in tasks[-2:])

    wait_until(all_ended, describe=lambda: tasks[-2:])
    assert not [task for task in tasks if "lost" in task["status"] or "no worker" in task["status"]]
    assert [(task["state"], task["attempt"]) for task in tasks[-2:]] == [("SUCCESS", 1)] * 2
    assert [system.runs(task_id) for task_id in running] == [1, 1]

    # And the workers are there again by themselves
    since = time.monotonic()
    system.wait([system.start("quick") for _ in range(4)], state="SUCCESS")
    took["worked again"] = time.monotonic() - since
    wait_until(lambda: requests.get(f"{url}/health", timeout=5).json()["workers"] == 2)


def test_no_accepted_task_is_lost_when_redis_is_restarted(
    system: System, took: dict[str, float]
) -> None:
    # Given clients who start 200 tasks, again and again until they are accepted
    accepted: list[str] = []
    refused = 0
    enough = threading.Semaphore(200)

    def client(number: int) -> None:
        nonlocal refused
        while enough.acquire(blocking=False):
            while True:
                answer = requests.post(f"{system.web.url}/start/quick", json={}, timeout=10)
                if answer.status_code == 202:
                    accepted.append(answer.json()["task_id"])
                    break
                assert answer.status_code == 503, answer.text
                refused += 1
                time.sleep(0.1)
            time.sleep(0.1)

    # When Redis is restarted twice meanwhile
    since = time.monotonic()
    with ThreadPoolExecutor(8) as clients:
        working = [clients.submit(client, number) for number in range(8)]
        for count in (50, 120):
            wait_until(lambda count=count: len(accepted) > count)
            system.redis_server.shut_down()
            time.sleep(0.5)
            system.redis_server.start()
        for done in working:
            done.result()

    # Then each that was accepted ends well
    assert len(accepted) == 200
    assert refused
    system.wait(accepted, state="SUCCESS")
    took["200 tasks"] = time.monotonic() - since


@pytest.fixture
def started_again(system: System) -> Iterator[None]:
    yield
    for worker in system.workers.values():
        if not worker.runs:
            worker.start()


@pytest.mark.usefixtures("started_again")
def test_a_worker_that_is_stopped_while_redis_is_away_ends_and_its_tasks_go_on_elsewhere(
    system: System, took: dict[str, float]
) -> None:
    # Given two workers that are full: with tasks that cannot say that they have ended while Redis is away,
    # and with others that go on for longer
    tasks = [system.start("silent", seconds) for seconds in (2, 15, 2, 15)]
    system.wait(tasks, state="PROGRESS")
    worker = system.workers["one"]
    system.redis_server.shut_down()
    wait_until(lambda: worker.log.read_text().count("Connection to Redis lost"))
    since = time.monotonic()
    try:
        os.kill(worker.pid, signal.SIGTERM)
        wait_until(lambda: not worker.runs)
        took["ended"] = time.monotonic() - since
    finally:
        system.redis_server.start()
    system.wait(tasks, 60, state="SUCCESS")
