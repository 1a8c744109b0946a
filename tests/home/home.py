"""A user's app with its web server and a worker, and what a client asks of it. Has no fixtures."""

from pathlib import Path
from typing import Any

import requests
from redis import Redis

from tests.home.servers import PATIENCE, HomeWorker, Site
from tests.processes import wait_until


class Home:
    """The app of a module with the names `app` and `celery`, its web server and a worker."""

    def __init__(self, name: str, module: str, folder: Path, database: str) -> None:
        self.name, self.module, self.folder = name, module, folder
        self.settings = {"REDIS_URL": database}
        self.redis = Redis.from_url(database)
        self.site = Site(name, folder, f"{module}:app", **self.settings)
        self.workers = [self.worker(f"{name}-worker", "-c", "4")]
        self.url = self.site.url

    def worker(self, name: str, *options: str) -> HomeWorker:
        return HomeWorker(name, self.folder, f"{self.module}:celery", *options, **self.settings)

    def post(self, path: str, **options: Any) -> requests.Response:
        """Start a task or a family."""
        response = requests.post(f"{self.url}{path}", timeout=PATIENCE, **options)
        assert response.status_code == 202, response.text
        return response

    def status(self, address: str) -> dict[str, Any]:
        response = requests.get(address, timeout=PATIENCE)
        assert response.status_code == 200, response.text
        return dict(response.json())

    def wait(self, address: str, **expected: Any) -> dict[str, Any]:
        wait_until(
            lambda: expected.items() <= self.status(address).items(),
            describe=lambda: self.status(address),
        )
        return self.status(address)

    def end(self, address: str) -> dict[str, Any]:
        wait_until(lambda: self.status(address)["finished"], describe=lambda: self.status(address))
        return self.status(address)

    def stop(self) -> None:
        self.site.stop()
        for worker in self.workers:
            worker.stop()
        self.redis.close()
