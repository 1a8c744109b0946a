"""A whole Longtask for one kind of fault: a Redis, a broker, a web server, and the workers a test asks for."""

import os
import signal
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import kombu
import requests
from redis import Redis

from tests.processes import PATIENCE, RabbitServer, RedisServer, WebServer, Worker, wait_until

#: Seconds: the shortest that may be set.
LEASE = 3


class System:
    def __init__(
        self,
        name: str,
        folder: Path,
        broker: RabbitServer | RedisServer | None = None,
        web: Mapping[str, str] | None = None,
        **settings: str,
    ) -> None:
        """`settings` are everybody's, `web` are the web server's alone.

        The RabbitMQ is the same for all systems, which use it one after the other: what another has left
        in its queue is removed.
        """
        self.name = name
        self.folder = folder
        self.redis_server = RedisServer(f"{name}-redis", folder, appendonly=True)
        self.redis = Redis.from_url(self.redis_server.url())
        self.broker_url = broker.url() if broker else self.redis_server.url()
        if isinstance(broker, RabbitServer):
            self.empty_queue()
        self.releases = folder / f"{name}-releases"
        self.releases.mkdir(exist_ok=True)
        self.settings = {
            "CELERY_BROKER_URL": self.broker_url,
            "RELEASES": str(self.releases),
            "LONGTASK_LEASE_SECONDS": str(LEASE),
            "LONGTASK_CANCEL_GRACE_SECONDS": "1",
            **settings,
        }
        self.web = WebServer(
            f"{name}-web",
            folder,
            self.redis_server.url(),
            app="tests.faults.site:app",
            **{**self.settings, **(web or {})},
        )
        self.workers: dict[str, Worker] = {}

    # -- what a client does --------------------------------------------------------------------------

    def start(self, task: str, *args: Any, **options: Any) -> str:
        """Start a task as a client does, and return its id."""
        options = {"args": args, **options}
        response = requests.post(f"{self.web.url}/start/{task}", json=options, timeout=PATIENCE)
        assert response.status_code == 202, response.text
        return str(response.json()["task_id"])

    def start_chain(self, task: str, length: int) -> list[str]:
        response = requests.post(f"{self.web.url}/start-chain/{task}/{length}", timeout=PATIENCE)
        assert response.status_code == 200, response.text
        return list(response.json())

    def statuses(self, task_ids: Iterable[str]) -> list[dict[str, Any]]:
        """The status of each task, as a client reads it."""
        ids = list(task_ids)
        tasks: list[dict[str, Any]] = []
        for first in range(0, len(ids), 100):
            query = {"id": ids[first : first + 100]}
            response = requests.get(f"{self.web.url}/status", query, timeout=PATIENCE)
            assert response.status_code == 200, response.text
            tasks += response.json()["tasks"].values()
        return tasks

    def status(self, task_id: str) -> dict[str, Any]:
        return self.statuses([task_id])[0]

    def cancel(self, task_id: str) -> None:
        response = requests.delete(f"{self.web.url}/status/{task_id}", timeout=PATIENCE)
        assert response.status_code == 200, response.text

    def health(self) -> dict[str, Any]:
        return dict(requests.get(f"{self.web.url}/health", timeout=PATIENCE).json())

    def wait(self, task_ids: Iterable[str], **expected: Any) -> None:
        """Wait until the status of all tasks has these values."""
        ids = list(task_ids)
        wait_until(
            lambda: all(expected.items() <= task.items() for task in self.statuses(ids)),
            describe=lambda: self.statuses(ids),
        )

    # -- behind the scenes ---------------------------------------------------------------------------

    def runs(self, task_id: str) -> int:
        """How often a worker has started a task."""
        return int(self.redis.llen(f"runs:{task_id}"))  # type: ignore[arg-type]

    def release(self, *task_ids: str, run: int | None = None) -> None:
        """Let tasks that wait for this go on, or one run of each."""
        for task_id in task_ids:
            (self.releases / (task_id if run is None else f"{task_id}-{run}")).touch()

    def worker(self, name: str, *options: str, **settings: str) -> Worker:
        worker = Worker(
            f"{self.name}-{name}",
            self.folder,
            self.redis_server.url(),
            *("-c", "2", "--without-mingle"),
            *options,
            app="tests.faults.site:celery",
            **{**self.settings, **settings},
        )
        self.workers[name] = worker
        return worker

    def start_workers(self, *names: str) -> list[Worker]:
        """Start several workers at once, since starting one is mostly waiting."""
        with ThreadPoolExecutor() as threads:
            return list(threads.map(self.worker, names))

    def freeze(self, name: str) -> None:
        self._signal(name, signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        self._signal(name, signal.SIGCONT)

    def terminate(self, name: str) -> None:
        """Ask the worker to stop, as a service manager does."""
        os.kill(self.workers[name].pid, signal.SIGTERM)

    def _signal(self, name: str, number: signal.Signals) -> None:
        os.killpg(self.workers[name].pid, number)

    def clear(self) -> None:
        """End the workers, and forget every task."""
        for worker in self.workers.values():
            worker.stop()
        self.workers = {}
        if self.redis_server.runs:
            self.redis.flushall()

    def empty_queue(self) -> None:
        with kombu.Connection(self.broker_url) as connection:
            channel = connection.channel()
            try:
                channel.queue_declare("celery", passive=True)
            except connection.channel_errors:
                return  # nothing has been sent yet
            # A worker's messages are back in the queue when RabbitMQ has noticed that the worker is gone.
            wait_until(lambda: not channel.queue_declare("celery", passive=True).consumer_count)
            channel.queue_purge("celery")

    def stop(self) -> None:
        self.clear()
        self.web.stop()
        self.redis.close()
        self.redis_server.stop()
