"""A broker that is away while the Redis with the records is up. The broker is RabbitMQ or another Redis."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.faults.system import System
from tests.processes import PATIENCE, RabbitServer, RedisServer, wait_until


@pytest.fixture(scope="module", params=["redis", pytest.param("rabbitmq", marks=pytest.mark.long)])
def broker(request: pytest.FixtureRequest, folder: Path) -> Iterator[RedisServer | RabbitServer]:
    kind = RedisServer if request.param == "redis" else RabbitServer
    server = kind(f"broker-{request.param}", folder)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def system(broker: RedisServer | RabbitServer, folder: Path) -> Iterator[System]:
    system = System(f"on-{broker.name}", folder, broker)
    yield system
    system.stop()


@pytest.mark.parametrize("how", ["is frozen", "is stopped"])
def test_while_the_broker_is_away_starts_are_refused_at_once_and_tasks_go_on(
    system: System, broker: RedisServer | RabbitServer, how: str, took: dict[str, float]
) -> None:
    # Given a worker that runs a task, and a web server that has started tasks before
    system.worker("worker")
    task_id = system.start("working_until_released")
    system.wait([task_id], state="PROGRESS")
    url = system.web.url

    # When the broker goes away
    broker.pause() if how == "is frozen" else broker.stop()
    try:
        asked = [
            lambda: requests.post(f"{url}/start/quick", json={}, timeout=PATIENCE),
            lambda: requests.get(f"{url}/health", timeout=PATIENCE),
        ] * 10
        with ThreadPoolExecutor(len(asked)) as threads:
            answers = list(threads.map(lambda ask: ask(), asked))
        answers += [ask() for ask in asked[:2]]

        # Then starts are refused, and the status of known tasks, which still run, can be read
        assert {answer.status_code for answer in answers} == {503}
        assert all("Retry-After" in answer.headers for answer in answers)
        before = system.status(task_id)
        assert before["state"] == "PROGRESS"
        wait_until(lambda: system.status(task_id)["current"] > before["current"])
    finally:
        broker.resume() if how == "is frozen" else broker.start()
    took["longest answer"] = max(answer.elapsed.total_seconds() for answer in answers)

    # And when it is back, starts are accepted again, and the worker reconnects by itself
    since = time.monotonic()
    wait_until(
        lambda: requests.post(f"{url}/start/quick", json={}, timeout=PATIENCE).status_code == 202
    )
    took["accepted again"] = time.monotonic() - since
    system.wait([system.start("quick")], state="SUCCESS")
    took["worked again"] = time.monotonic() - since
    system.release(task_id)
    system.wait([task_id], state="SUCCESS")
    system.workers.pop("worker").stop()


@pytest.mark.long
def test_the_next_step_of_a_chain_waits_for_a_broker_that_is_away(
    system: System, broker: RedisServer | RabbitServer
) -> None:
    # Given a chain whose first task runs
    worker = system.worker("worker")
    chain = system.start_chain("slow_to_begin", 2)
    wait_until(lambda: system.runs(chain[0]))

    # When the broker is silent at the moment at which the second task is to be sent
    broker.pause()
    try:
        system.release(*chain)
        wait_until(lambda: "cannot be sent, and is tried again" in worker.log.read_text())
    finally:
        broker.resume()

    # Then the task is sent when the broker is back, and each task has run once
    system.wait(chain, state="SUCCESS")
    assert [system.runs(task_id) for task_id in chain] == [1, 1]
    system.workers.pop("worker").stop()
