"""Every way to start the parts that is not in the README, which has a test of its own."""

import sys
from pathlib import Path

import pytest
import requests
from redis import Redis

from tests.processes import Process, RedisServer, environment, free_port


def test_flask_run_serves_the_app(redis_server: RedisServer, folder: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "flask", "--app", "app", "run", "--port", str(port)]
    server = Process("flask-run", command, folder, environment(redis_server.url()))

    def answers() -> bool:
        try:
            return requests.get(f"http://127.0.0.1:{port}/health", timeout=5).status_code == 200
        except requests.RequestException:  # not there yet, or too busy with starting
            return False

    try:
        server.wait_for(answers)
    finally:
        server.stop()


@pytest.mark.parametrize("app", ["celery_worker", "app.celery"])
def test_a_worker_is_started_with_either_name_of_the_app(
    redis_server: RedisServer, folder: Path, app: str
) -> None:
    # Given a worker as a person starts it, on a Redis of its own
    url = redis_server.url(database=4)
    command = [sys.executable, "-m", "celery", "-A", app, "worker", "--loglevel=INFO", "-c", "1"]
    command += ["-n", "named@tests"]
    worker = Process(f"worker-{app}", command, folder, environment(url))
    try:
        with Redis.from_url(url) as stored:
            worker.wait_for(lambda: stored.zscore("longtask:workers", f"named@tests/{worker.pid}"))
        assert "app.long_task" in worker.log.read_text()
    finally:
        worker.stop()
