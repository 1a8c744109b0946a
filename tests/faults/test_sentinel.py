"""A Redis that is found by Sentinels: when it falls silent, all processes go on with its replica."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from redis import Redis
from redis.exceptions import RedisError

from tests.processes import (
    PATIENCE,
    Process,
    WebServer,
    environment,
    free_port,
    redis_program,
    wait_until,
)

pytestmark = pytest.mark.long

#: Seconds after which the Sentinels take a Redis for lost.
DOWN_AFTER = 2


class Node(Process):
    """A Redis or, by its settings file, a Sentinel. `url` is without a database."""

    def __init__(self, name: str, folder: Path, settings: str, *options: str) -> None:
        self.port = free_port()
        file = folder / f"{name}.conf"
        file.write_text(f"port {self.port}\nbind 127.0.0.1\ndir {folder}\n{settings}")
        program = redis_program()
        super().__init__(name, [program, str(file), *options], folder, {})
        self.wait_for(self.answers)

    def answers(self) -> bool:
        with Redis(port=self.port, password="secret", socket_timeout=1) as client:
            try:
                return bool(client.ping())
            except RedisError as error:
                return "without any password" in str(error)  # a Sentinel


@pytest.fixture
def nodes(folder: Path) -> Iterator[list[Node]]:
    """The master, its replica and three Sentinels."""
    secret = 'requirepass secret\nmasterauth secret\nsave ""\n'
    nodes: list[Node] = []
    try:
        nodes.append(master := Node("master", folder, secret))
        replica = f"{secret}replicaof 127.0.0.1 {master.port}\n"
        nodes.append(Node("replica", folder, replica))
        watched = (
            f"sentinel monitor longtask 127.0.0.1 {master.port} 2\n"
            "sentinel auth-pass longtask secret\n"
            f"sentinel down-after-milliseconds longtask {DOWN_AFTER * 1000}\n"
        )
        nodes += [Node(f"sentinel-{n}", folder, watched, "--sentinel") for n in range(3)]
        for sentinel in nodes[2:]:
            wait_until(lambda sentinel=sentinel: knows_the_others(sentinel))
        yield nodes
    finally:
        for node in nodes:
            node.stop()


def knows_the_others(sentinel: Node) -> bool:
    with Redis(port=sentinel.port) as client:
        state = client.sentinel_master("longtask")
        return bool(state["num-other-sentinels"] == 2 and state["num-slaves"] == 1)


def test_when_the_redis_and_a_sentinel_fall_silent_all_goes_on_with_the_replica(
    nodes: list[Node], folder: Path, took: dict[str, float]
) -> None:
    # Given a task that runs
    master, _, *sentinels = nodes
    url = ";".join(f"sentinel://:secret@127.0.0.1:{sentinel.port}/0" for sentinel in sentinels)
    settings = {**environment(url), "REDIS_SENTINEL_MASTER": "longtask"}
    web = WebServer("sentinel-web", folder, url, app="tests.faults.site:app", **settings)
    command = [sys.executable, "-m", "celery", "-A", "tests.faults.site:celery", "worker"]
    worker = Process("sentinel-worker", [*command, "-c", "2"], folder, settings)
    try:
        wait_until(lambda: requests.get(f"{web.url}/health", timeout=PATIENCE).json()["workers"])
        task_id = start(web, 8.0)
        task = f"{web.url}/status/{task_id}"
        wait_until(lambda: requests.get(task, timeout=PATIENCE).json()["current"] > 2)

        # When its Redis falls silent, and so does the Sentinel that is asked first
        # (and, for now, a second one: the third alone cannot change anything)
        for node in (*sentinels[:2], master):
            os.kill(node.pid, signal.SIGSTOP)
        since = time.monotonic()
        answers: list[requests.Response] = []

        def told() -> bool:
            answers.append(requests.get(task, timeout=PATIENCE))
            return answers[-1].ok

        # Then requests are answered with 503 at once, until the task's status comes from the other Redis
        assert not told()
        os.kill(sentinels[1].pid, signal.SIGCONT)
        wait_until(told)
        took["told again"] = time.monotonic() - since
        assert {answer.status_code for answer in answers} == {200, 503}
        took["longest answer"] = max(answer.elapsed.total_seconds() for answer in answers)

        # And the task goes on to its end, and so do others
        wait_until(lambda: told() and answers[-1].json()["finished"])
        assert answers[-1].json()["state"] == "SUCCESS"
        assert answers[-1].json()["attempt"] == 1
        other = f"{web.url}/status/{start(web, 0.2)}"
        wait_until(lambda: requests.get(other, timeout=PATIENCE).json()["state"] == "SUCCESS")
    finally:
        worker.stop()
        web.stop()


def start(web: WebServer, seconds: float) -> str:
    def answer() -> requests.Response:
        return requests.post(f"{web.url}/start/working", json={"args": [seconds]}, timeout=PATIENCE)

    accepted = wait_until(lambda: a if (a := answer()).ok else None)
    return str(accepted.json()["task_id"])
