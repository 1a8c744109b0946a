"""The extension beside others: queues that are added later, prefixes, other Celery apps, Celery's own tools."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from redis import Redis

from tests.faults.system import System
from tests.processes import PATIENCE, ROOT, Process, RedisServer, WebServer, environment, wait_until

NOBODY = "Waiting: no worker is running"

#: How many tasks may wait in a queue of this system.
BOUND = 3


@pytest.fixture(scope="module")
def guests(folder: Path) -> Iterator[System]:
    system = System("guests", folder, LONGTASK_MAX_WAITING=str(BOUND))
    yield system
    system.stop()


@pytest.fixture
def system(guests: System) -> Iterator[System]:
    yield guests
    guests.clear()


def celery(system: System, *arguments: str) -> str:
    """Send one of Celery's commands to the worker, which answers once it listens."""
    program = [sys.executable, "-m", "celery", "-A", "tests.faults.site:celery"]
    kind, *rest = arguments
    # With the worker's name it returns as soon as the worker has answered; without, always after a second.
    command = [*program, kind, "-d", "guests-worker@tests", "-t", "10", *rest]
    environment = {**os.environ, **system.web.environment}

    def answered() -> str | None:
        run = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, check=False, text=True
        )
        return run.stdout if run.returncode == 0 else None

    return wait_until(answered) or ""


def test_a_worker_that_serves_another_queue_on_request_is_known_to_serve_it(
    system: System,
) -> None:
    # Given a worker that is busy, and was asked to serve another queue
    system.worker("worker", "-c", "1", "-Q", "celery")
    celery(system, "control", "add_consumer", "other")
    busy = system.start("silent_until_released")
    system.wait([busy], state="PROGRESS")

    # Then the status of a task of that queue does not say that no worker serves it, and the task is run
    task_id = system.start("quick", queue="other")
    seen: list[str] = []
    wait_until(lambda: seen.append(system.status(task_id)["status"]) or len(seen) == 50)
    assert NOBODY not in seen
    system.release(busy)
    system.wait([task_id], state="SUCCESS")

    # And when the worker was asked to leave the queue, the status of a new task says so
    celery(system, "control", "cancel_consumer", "other")
    system.wait(
        [system.start("quick", queue="other")], status="Waiting: no worker serves the queue other"
    )


def test_celerys_own_tools_leave_no_key_without_a_bound(system: System) -> None:
    system.worker("worker", "-c", "1")

    for _ in range(2):
        assert "pong" in celery(system, "inspect", "ping")
    system.workers.pop("worker").stop()
    system.start("quick")

    keys = [key.decode() for key in system.redis.scan_iter("*")]
    bells = [key for key in keys if "bell" in key]
    assert bells
    assert all(0 < system.redis.ttl(key) <= 60 for key in bells), bells
    # Nothing stays of the replies except what Kombu leaves
    replies = [key for key in keys if "reply" in key and key not in bells]
    assert [key for key in replies if not key.startswith("_kombu.binding")] == []


def test_a_worker_that_takes_anothers_place_is_another_whatever_it_is_called(
    system: System,
) -> None:
    # Given a worker that dies while it runs a task
    worker = system.worker("worker", "-c", "1")
    (first,) = system.redis.hkeys("longtask:worker-info")
    task_id = system.start("working_until_released")
    system.wait([task_id], state="PROGRESS")

    # When a worker with the same name takes its place
    worker.stop()
    worker.start()

    # Then it is another worker, which gets the task of the first, and only it is left
    system.wait([task_id], state="PROGRESS", attempt=2)
    assert "its worker was lost" in system.status(task_id)["status"]
    # The message is handed back a moment before its worker is forgotten.
    (second,) = wait_until(
        lambda: (known := system.redis.hkeys("longtask:worker-info")) and len(known) == 1 and known
    )
    assert second != first
    assert second.split(b"/")[0] == first.split(b"/")[0]


def test_a_task_whose_result_is_ignored_is_accepted_and_told_as_any_other(system: System) -> None:
    # Given no worker
    url = f"{system.web.url}/start/with_its_result_ignored"
    key = {"Idempotency-Key": "4711"}

    # When a task is started twice with the same key, it is one task
    answers = [requests.post(url, json={}, headers=key, timeout=PATIENCE) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    task_id, again = (answer.json()["task_id"] for answer in answers)
    assert task_id == again

    # And each of them takes a place in the queue
    others = [system.start("with_its_result_ignored") for _ in range(BOUND - 1)]
    refused = requests.post(url, json={}, timeout=PATIENCE)
    assert (refused.status_code, "wait already" in refused.text) == (503, True)
    system.wait([others[-1]], status=NOBODY)

    # And each is run once, and its status says that it has ended
    system.worker("worker", "-c", "1")
    system.wait([task_id, *others], state="SUCCESS", result=None, percent=100, attempt=1)
    assert system.runs(task_id) == 1
    again = requests.post(url, json={}, headers=key, timeout=PATIENCE).json()
    assert (again["task_id"], again["state"]) == (task_id, "SUCCESS")


def test_to_ask_for_the_health_opens_no_connection(system: System) -> None:
    def opened() -> int:
        return int(system.redis.info("stats")["total_connections_received"])

    with requests.Session() as session:
        for _ in range(3):
            assert session.get(f"{system.web.url}/health", timeout=PATIENCE).ok
        before = opened()
        for _ in range(20):
            assert session.get(f"{system.web.url}/health", timeout=PATIENCE).ok
        assert opened() == before


def test_another_celery_app_in_the_process_works_as_if_the_extension_were_not_there(
    system: System,
) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "tests.faults.plain_celery"],
        cwd=ROOT,
        env={**os.environ, **environment(system.redis_server.url())},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr


class Prefixed:
    """An app whose keys are behind a prefix."""

    def __init__(self, prefix: str, folder: Path, redis_url: str) -> None:
        self.prefix = prefix
        self.folder = folder
        self.name = prefix.strip(":")
        self.web = WebServer(
            f"{self.name}-web", folder, redis_url, app="tests.faults.prefixed:app", PREFIX=prefix
        )
        self.worker: Process | None = None

    def start_worker(self) -> None:
        command = [sys.executable, "-m", "celery", "-A", "tests.faults.prefixed:celery", "worker"]
        command += ["-c", "1", "-n", f"{self.name}@tests", "--without-mingle"]
        self.worker = Process(f"{self.name}-worker", command, self.folder, self.web.environment)
        self.worker.wait_for(lambda: self.get("/health")["workers"] == 1)

    def start(self, task: str) -> str:
        answer = requests.post(f"{self.web.url}/start/{task}", timeout=PATIENCE)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["task_id"])

    def get(self, path: str) -> dict[str, object]:
        return dict(requests.get(f"{self.web.url}{path}", timeout=PATIENCE).json())

    def stop(self) -> None:
        self.web.stop()
        if self.worker:
            self.worker.stop()


@pytest.fixture
def shared(folder: Path) -> Iterator[RedisServer]:
    """A Redis to which only the two apps write."""
    server = RedisServer("redis-of-two", folder)
    yield server
    server.stop()


@pytest.fixture
def apps(folder: Path, shared: RedisServer) -> Iterator[list[Prefixed]]:
    apps: list[Prefixed] = []
    try:
        for prefix in ("shop:", "office:"):
            apps.append(Prefixed(prefix, folder, shared.url()))
        yield apps
    finally:
        for app in apps:
            app.stop()


def test_two_apps_with_prefixes_of_their_own_share_a_database_and_nothing_else(
    apps: list[Prefixed], shared: RedisServer
) -> None:
    # Given an app with a worker, and an app without one
    shop, office = apps
    shop.start_worker()

    # When each starts tasks
    waiting = [office.start("quick") for _ in range(3)]
    done = [shop.start("quick") for _ in range(2)]

    # Then each counts its own tasks
    for task_id in done:
        wait_until(lambda task_id=task_id: shop.get(f"/status/{task_id}")["state"] == "SUCCESS")
        answer = requests.get(f"{office.web.url}/status/{task_id}", timeout=PATIENCE)
        assert answer.status_code == 404
    somebody = {"redis": "up", "workers": 1, "waiting": 0}
    wait_until(lambda: shop.get("/health") == somebody, describe=lambda: shop.get("/health"))
    nobody = {"redis": "up", "workers": 0, "waiting": 3}
    wait_until(lambda: office.get("/health") == nobody, describe=lambda: office.get("/health"))
    assert {office.get(f"/status/{task_id}")["status"] for task_id in waiting} == {NOBODY}

    # And all keys in Redis have one of the prefixes, and the bells of the queues have a bound
    client = Redis.from_url(shared.url())
    keys = [key.decode() for key in client.scan_iter("*")]
    assert [key for key in keys if not re.match("shop:|office:", key)] == []
    bells = [key for key in keys if "bell" in key]
    assert "office:longtask:bell:celery" in bells
    assert all(0 < client.ttl(key) <= 60 for key in bells)
    client.close()
