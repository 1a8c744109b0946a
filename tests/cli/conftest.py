"""A Redis of its own, a worker on it, and the command line as it is called in a terminal or by a script."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from flask_longtask.store.presence import HOLD
from tests.processes import PATIENCE, ROOT, RedisServer, Worker, wait_until


class Site:
    """An app's command line. `settings` are its environment."""

    def __init__(self, app: str, redis_url: str, **settings: str) -> None:
        self.command = [sys.executable, "-m", "flask", "--app", app, "longtask"]
        self.environment = {**os.environ, "REDIS_URL": redis_url, **settings}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.command, *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )

    def json(self, *arguments: str) -> Any:
        """What it writes with --json, whether it is well or not."""
        done = self.run(*arguments, "--json")
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    def open(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """The same while it runs."""
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        command = [*self.command, *arguments]
        return subprocess.Popen(
            command, cwd=ROOT, env=self.environment, text=True, **{**pipes, **options}
        )

    def start(self, task: str, arguments: str = "[]") -> str:
        """Start a task, and return its id."""
        done = self.run("start", task, arguments)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout.strip()


@pytest.fixture(scope="session")
def cli_redis(folder: Path) -> Iterator[RedisServer]:
    """With the append-only file, as one that holds tasks should have it."""
    server = RedisServer("cli-redis", folder, appendonly=True)
    with Redis.from_url(server.url()) as client:
        # Before that it is not known whether a worker runs.
        wait_until(lambda: client.info("server")["uptime_in_seconds"] > HOLD)
    yield server
    server.stop()


@pytest.fixture
def redis(cli_redis: RedisServer) -> Iterator[Redis]:
    with Redis.from_url(cli_redis.url()) as client:
        yield client


@pytest.fixture(scope="session")
def site(cli_redis: RedisServer) -> Site:
    return Site("tests.cli.site:app", cli_redis.url())


@pytest.fixture(scope="session")
def cli_worker(cli_redis: RedisServer, folder: Path) -> Iterator[Worker]:
    worker = Worker("cli", folder, cli_redis.url(), "-c", "4", app="tests.cli.site.celery")
    yield worker
    worker.stop()


@pytest.fixture
def idle(cli_redis: RedisServer) -> Site:
    """The same app on a database where no worker runs, and that is empty."""
    with Redis.from_url(cli_redis.url(1)) as client:
        client.flushdb()
    return Site("tests.cli.site:app", cli_redis.url(1))


@pytest.fixture(scope="session")
def away(folder: Path) -> Site:
    """The same app without a Redis."""
    from tests.processes import NOBODY  # noqa: PLC0415

    return Site("tests.cli.site:app", f"redis://127.0.0.1:{NOBODY}/0")
