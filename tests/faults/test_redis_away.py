"""Redis stopped, frozen, full and read-only: every request is answered at once, and nothing that runs ends."""

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
import requests
from playwright.sync_api import Page, expect

from flask_longtask.store.presence import CACHED
from tests.faults.system import LEASE, System
from tests.processes import PATIENCE, free_port, wait_until
from tests.test_browser import in_state, percent, start, tasks_of

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
    # Which holds CLIENT UNPAUSE up, too, and lasts until the answers of a busy machine are there.
    system.redis.client_pause(int((FAULT + 10) * 1000))
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

JSON, PAGE = {"Accept": "application/json"}, {"Accept": "text/html"}
EMAIL = "ann@example.com"


class Ask(NamedTuple):
    """One request to the app, by its route as /openapi.json has it."""

    method: str
    route: str
    #: What Redis has to do for it: "nothing", "read" or "write".
    needs: str
    headers: dict[str, str] = JSON
    options: dict[str, Any] = {}  # noqa: RUF012  # read only

    def send(self, browser: requests.Session, url: str, task_id: str) -> requests.Response:
        address = url + self.route.format(task_id=task_id)
        options = {"headers": self.headers, "timeout": PATIENCE, **self.options}
        return browser.request(self.method, address, **options)


def asks(task_id: str) -> list[Ask]:
    """A request to every route, and some in another way, too."""
    return [
        Ask("get", "/", "nothing"),
        Ask("get", "/openapi.json", "nothing"),
        Ask("get", "/imports/sample.csv", "nothing", options={"params": {"rows": 1}}),
        Ask("get", "/imports/{task_id}", "nothing"),  # the database knows that there is none
        Ask("get", "/status/{task_id}", "read"),
        Ask("get", "/status/{task_id}", "read", PAGE),
        Ask("get", "/status/{task_id}/parts", "read"),
        Ask("get", "/status/{task_id}/history", "read"),
        Ask("get", "/result/{task_id}", "read"),
        Ask("get", "/status", "read", options={"params": {"id": [task_id, task_id]}}),
        Ask("get", "/tasks", "read"),
        Ask("get", "/tasks/{task_id}", "read"),
        Ask("get", "/outbox", "read"),
        Ask("get", "/health", "write"),  # is not healthy while nothing can be written
        Ask("delete", "/status/{task_id}", "write"),
        Ask("post", "/status/{task_id}", "write", PAGE),
        Ask("post", "/status/{task_id}/restart", "write"),
        Ask("post", "/longtask", "write"),
        Ask("post", "/longtask", "write", PAGE),
        Ask("post", "/longtask", "write", {**JSON, "Idempotency-Key": str(uuid4())}),
        Ask("post", "/double", "write", options={"json": {"number": 1}}),
        Ask("post", "/tasks", "write", options={"json": {"type": 0}}),
        Ask("post", "/imports", "write", options={"files": {"file": b"a\n1\n"}}),
        Ask("post", "/mail", "write", options={"json": {"email": EMAIL, "delay": 60}}),
        Ask("post", "/users", "write", options={"json": {"username": "Ann", "email": EMAIL}}),
    ]


#: The status codes other than 200 where Redis answers.
OTHERWISE = {"/imports/{task_id}": 404, "/result/{task_id}": 404}


@pytest.mark.parametrize(
    "fault", [stopped, frozen, pytest.param(paused, marks=pytest.mark.long), full, read_only]
)
def test_while_redis_is_away_all_is_answered_and_tasks_go_on(
    system: System, fault: Fault, took: dict[str, float]
) -> None:
    # Given a browser that has started tasks, of which two run
    browser = requests.Session()
    url = system.web.url
    browser.get(url, timeout=PATIENCE)
    browser.post(f"{url}/double", json={"number": 1}, timeout=PATIENCE).raise_for_status()
    running = [system.start("working", FAULT + 2), system.start("silent", FAULT + 2)]
    system.wait(running, state="PROGRESS")
    wait_until(lambda: all(map(system.runs, running)))  # which they note by themselves
    asked = asks(running[0])
    cannot_be_read = fault in (stopped, frozen, paused)

    with fault(system):
        since = time.monotonic()
        time.sleep(2 * CACHED + 0.1)  # for as long /health may tell what was so before
        # Everything at the same moment, and then once more
        answers: list[tuple[Ask, requests.Response]] = []
        for _ in range(2):
            with ThreadPoolExecutor(len(asked)) as threads:
                sent = threads.map(lambda ask: ask.send(browser, url, running[0]), asked)
                answers += zip(asked, sent, strict=True)

        for ask, answer in answers:
            if ask.route == "/health":
                assert answer.status_code == 503
                assert int(answer.headers["Retry-After"]) > 0
                told = "down" if cannot_be_read else "read-only"
                assert answer.json() == {"redis": told, "workers": None, "waiting": None}
            elif ask.needs == "write" or (ask.needs == "read" and cannot_be_read):
                assert answer.status_code == 503, (ask, answer.text)
                assert int(answer.headers["Retry-After"]) > 0
                title = "Service Unavailable"
                if ask.headers == PAGE:
                    assert title in answer.text
                else:
                    assert answer.headers["Content-Type"] == "application/problem+json"
                    assert answer.json()["title"] == title
            else:
                assert answer.status_code == OTHERWISE.get(ask.route, 200), (ask, answer.text)
                if ask.route != "/openapi.json":
                    assert "lost" not in answer.text
                    assert "no worker" not in answer.text
        took["longest answer"] = max(answer.elapsed.total_seconds() for _, answer in answers)
        time.sleep(max(0, FAULT - (time.monotonic() - since)))

    # When it is back, then nobody says that a worker was lost, the task has gone on, and its bar catches up
    since = time.monotonic()
    wait_until(lambda: requests.get(f"{url}/health", timeout=PATIENCE).status_code == 200)
    took["healthy again"] = time.monotonic() - since
    tasks: list[dict[str, Any]] = []

    def all_ended() -> bool:
        tasks.extend(system.statuses(running))
        return all(task["finished"] for task in tasks[-2:])

    wait_until(all_ended, describe=lambda: tasks[-2:])
    assert not [task for task in tasks if "lost" in task["status"] or "no worker" in task["status"]]
    assert [(task["state"], task["attempt"]) for task in tasks[-2:]] == [("SUCCESS", 1)] * 2
    assert [system.runs(task_id) for task_id in running] == [1, 1]
    # The task was not kept waiting for Redis, but for the moment that it takes to give a report up
    took["task held up"] = tasks[-2]["result"]
    assert took["task held up"] < FAULT - 1

    # And the workers are there again by themselves
    since = time.monotonic()
    system.wait([system.start("quick") for _ in range(4)], state="SUCCESS")
    took["worked again"] = time.monotonic() - since
    wait_until(lambda: requests.get(f"{url}/health", timeout=PATIENCE).json()["workers"] == 2)


@pytest.mark.long
def test_just_after_an_outage_no_task_is_taken_from_a_worker_that_comes_back_later(
    folder: Path,
) -> None:
    system = System("later", folder)
    try:
        # Given a worker that runs a task, and another
        system.worker("slow")
        task_id = system.start("working", FAULT + 2)
        system.wait([task_id], state="PROGRESS")
        system.worker("fast")

        # When Redis was away for longer than the lease, and the first one comes back after the other
        system.freeze("slow")
        with frozen(system):
            time.sleep(FAULT)
        # In each second the fast one looks twice for what has lapsed
        system.wait([system.start("quick")], state="SUCCESS")
        time.sleep(1)
        system.thaw("slow")

        # Then its task is still its own
        system.wait([task_id], state="SUCCESS", attempt=1)
        assert system.runs(task_id) == 1
    finally:
        system.stop()


@pytest.mark.long
def test_a_worker_whose_connections_were_broken_keeps_the_task_that_it_runs_and_loses_no_other(
    system: System,
) -> None:
    # Given tasks that run for longer than the lease, and others that the workers hold meanwhile
    running = [system.start("working", LEASE + FAULT) for _ in range(4)]
    system.wait(running, state="PROGRESS")
    held = [system.start("quick", countdown=LEASE + 1), *(system.start("quick") for _ in range(2))]
    wait_until(lambda: system.health()["waiting"] == 0)

    # When every connection to Redis breaks, and can be made again at once
    system.redis.client_kill_filter(_type="normal", skipme=True)

    # Then what runs is still held by the worker that runs it, and what it held besides is not forgotten
    system.wait(running, state="SUCCESS", attempt=1)
    system.wait(held, state="SUCCESS", attempt=1)
    assert [system.runs(task_id) for task_id in running] == [1] * 4


def test_every_route_is_among_those_that_are_asked_while_redis_is_away(system: System) -> None:
    paths = requests.get(f"{system.web.url}/openapi.json", timeout=PATIENCE).json()["paths"]
    routes = {(method, path) for path, methods in paths.items() for method in methods}

    assert routes == {(ask.method, ask.route) for ask in asks("")}


@pytest.mark.parametrize("fault", [stopped, pytest.param(frozen, marks=pytest.mark.long)])
def test_while_redis_is_away_the_page_says_so_keeps_its_bars_and_goes_on_by_itself(
    system: System, page: Page, fault: Fault, took: dict[str, float]
) -> None:
    # Given a page with a task that runs
    page.goto(system.web.url)
    start(page, steps=1000, delay=0.2)
    task, bar = tasks_of(page), page.get_by_role("progressbar")
    expect(bar).to_have_attribute("aria-valuenow", re.compile("[1-9]"))
    away = page.get_by_text("The task queue cannot be reached.").first
    since = time.monotonic()

    # When Redis goes away
    with fault(system):
        # Then the page says so, and keeps the bar
        expect(away).to_be_visible()
        took["told"] = time.monotonic() - since
        expect(page.get_by_text("The bars show what was known at")).to_be_visible()
        expect(task).to_have_count(1)
        expect(page.get_by_text("lost")).to_have_count(0)
        before = percent(task)
        assert before > 0
        # And a start is refused at its form
        refused = page.locator("form .longtask-error")
        page.get_by_role("button", name="Start", exact=True).click()
        expect(refused).to_have_count(1)

    # When it is back, then the page goes on by itself, the task having gone on all along
    since = time.monotonic()
    expect(away).to_be_hidden()
    page.wait_for_function(
        "before => Number(document.querySelector('[role=progressbar]').ariaValueNow) > before",
        arg=before,
    )
    took["went on"] = time.monotonic() - since
    expect(refused).to_have_count(0)
    expect(in_state(page, "Running")).to_have_count(1)
    page.get_by_role("button", name="Cancel").click()
    expect(in_state(page, "Cancelled")).to_have_count(1)


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
                answer = requests.post(f"{system.web.url}/start/quick", json={}, timeout=PATIENCE)
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
            before = refused
            wait_until(lambda before=before: refused > before)
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
    # Given two workers that are full: with a task that cannot say that it has ended while Redis is away, and with
    # others that go on for longer
    tasks = [system.start("silent_until_released") for _ in range(4)]
    system.wait(tasks, state="PROGRESS")
    wait_until(lambda: all(map(system.runs, tasks)))
    worker = system.workers["one"]
    pids = {i: int(system.redis.lindex(f"runs:{i}", 0)) for i in tasks}  # type: ignore[arg-type]
    ends = next(task_id for task_id in tasks if os.getpgid(pids[task_id]) == worker.pid)
    lost = "Connection to Redis lost"
    said = worker.log.read_text().count(lost)
    system.redis_server.shut_down()
    since = time.monotonic()
    try:
        system.release(ends)
        wait_until(lambda: worker.log.read_text().count(lost) > said)
        os.kill(worker.pid, signal.SIGTERM)
        wait_until(lambda: not worker.runs)
        took["ended"] = time.monotonic() - since
    finally:
        system.redis_server.start()
    system.release(*tasks)
    system.wait(tasks, state="SUCCESS")
