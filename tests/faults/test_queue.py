"""Queues that no worker serves, that are full, and that were emptied by another program."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Page, expect

from tests.faults.system import System
from tests.processes import PATIENCE, ROOT, WebServer, wait_until
from tests.test_browser import start, tasks_of

NOBODY = "Waiting: no worker is running"

#: How many tasks may wait in a queue of these systems.
BOUND = 10


@pytest.fixture(scope="module")
def bounded(folder: Path) -> Iterator[System]:
    system = System("bounded", folder, LONGTASK_MAX_WAITING=str(BOUND))
    yield system
    system.stop()


@pytest.fixture
def system(bounded: System) -> Iterator[System]:
    yield bounded
    bounded.clear()


def test_that_nobody_serves_a_queue_is_told(system: System, took: dict[str, float]) -> None:
    # Given a worker of one queue, which runs a task while another waits
    system.worker("worker", "-c", "1", "-Q", "celery")
    running, waiting = system.start("silent", 60), system.start("quick")
    system.wait([running], state="PROGRESS")
    told = ("Pending...", "Waiting: 1 task ahead")
    wait_until(lambda: system.status(waiting)["status"] in told)

    # The status of a task of another queue says that no worker serves the queue
    elsewhere = system.start("quick", queue="other")
    system.wait([elsewhere], status="Waiting: no worker serves the queue other")

    # And once the worker is gone, the status of the task that waits for it says so
    system.workers["worker"].stop()
    since = time.monotonic()
    system.wait([waiting], status=NOBODY)
    took["nobody there"] = time.monotonic() - since

    # And when a worker serves both queues, no status says so any more, and all tasks are run
    system.worker("heir", "-c", "3", "-Q", "celery,other")
    system.wait([waiting, elsewhere], state="SUCCESS")


def test_the_page_tells_that_nobody_is_there(
    system: System, page: Page, took: dict[str, float]
) -> None:
    # Given a page with a task that waits for a busy worker
    system.worker("worker", "-c", "1")
    busy = system.start("silent", 60)
    system.wait([busy], state="PROGRESS")
    page.goto(system.web.url)
    start(page, steps=1, delay=0)
    expect(tasks_of(page)).to_contain_text("Waiting")

    # When the worker is killed
    system.workers["worker"].stop()

    # Then its bar says that no worker is running
    since = time.monotonic()
    expect(tasks_of(page)).to_contain_text("no worker is running")
    took["told"] = time.monotonic() - since


def test_no_more_tasks_are_accepted_than_may_wait_however_many_come_at_once(
    system: System, folder: Path
) -> None:
    # Given two web server processes, and no worker
    other = WebServer(
        "bounded-web-2",
        folder,
        system.redis_server.url(),
        app="tests.faults.site:app",
        **system.settings,
    )
    try:
        # When 50 starts arrive at the same moment, half at each process
        urls = [f"{web.url}/start/quick" for web in (system.web, other)] * 25
        with ThreadPoolExecutor(50) as clients:
            answers = list(
                clients.map(lambda url: requests.post(url, json={}, timeout=PATIENCE), urls)
            )
    finally:
        other.stop()

    # Then as many are accepted as may wait, and the others are answered with 503 and Retry-After
    accepted = [answer for answer in answers if answer.status_code == 202]
    refused = [answer for answer in answers if answer.status_code == 503]
    assert (len(accepted), len(refused)) == (BOUND, 50 - BOUND)
    assert {answer.json()["detail"] for answer in refused} == {
        "10 tasks wait already. Try again later."
    }
    assert all(int(answer.headers["Retry-After"]) > 0 for answer in refused)
    assert system.redis.llen("celery") == BOUND
    # A refused task is unknown, and leaves nothing behind
    assert len(list(system.redis.scan_iter("longtask:task:*"))) == BOUND

    # And another queue has room
    system.start("quick", queue="other")

    # And when the tasks have been run, there is room again
    system.worker("worker")
    system.wait([answer.json()["task_id"] for answer in accepted], state="SUCCESS")
    system.start("quick")


def test_a_queue_that_was_purged_has_room_again(system: System) -> None:
    for _ in range(BOUND):
        system.start("quick")
    assert (
        requests.post(f"{system.web.url}/start/quick", json={}, timeout=PATIENCE).status_code == 503
    )

    command = [sys.executable, "-m", "celery", "-A", "celery_worker", "purge", "-f"]
    environment = {**os.environ, **system.web.environment}
    subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True)

    # Not at once, since a message that is on its way is not in the queue either
    url = f"{system.web.url}/start/quick"
    wait_until(lambda: requests.post(url, json={}, timeout=PATIENCE).status_code == 202)
    for _ in range(BOUND - 1):
        system.start("quick")
    assert requests.post(url, json={}, timeout=PATIENCE).status_code == 503


def test_tasks_that_were_cancelled_are_not_counted_as_ahead(system: System) -> None:
    # Given a worker that is busy, and tasks that wait for it
    system.worker("worker", "-c", "1")
    running = system.start("silent", 60)
    system.wait([running], state="PROGRESS")
    first, second, third = (system.start("quick") for _ in range(3))
    system.wait([third], status="Waiting: 2 tasks ahead")

    # When one of them is cancelled
    requests.delete(f"{system.web.url}/status/{first}", timeout=PATIENCE)

    # Then the other tasks have one task less ahead of them, and the queue has room for one more
    system.wait([third], status="Waiting: 1 task ahead")
    wait_until(lambda: system.status(second)["status"] == "Pending...")
