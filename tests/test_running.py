"""Every way to start the parts that is not in the README, which has a test of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from redis import Redis

from tests.processes import PATIENCE, ROOT, Process, RedisServer, environment, free_port


def test_flask_run_serves_the_app(redis_server: RedisServer, folder: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "flask", "--app", "app", "run", "--port", str(port)]
    server = Process("flask-run", command, folder, environment(redis_server.url()))

    def answers() -> bool:
        try:
            return (
                requests.get(f"http://127.0.0.1:{port}/health", timeout=PATIENCE).status_code == 200
            )
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
            stored.flushdb()
            worker.wait_for(lambda: stored.zcard("longtask:workers"))
        assert "app.long_task" in worker.log.read_text()
    finally:
        worker.stop()


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("DATABASE_URL", "nope"),
        ("DATABASE_URL", "nope://localhost/x"),
        ("DATABASE_URL", "postgresql://ann:secret@localhost:port/x"),
        ("DATABASE_URL", "mysql+nope://localhost/x"),
        ("DATABASE_URL", "oracle+cx_oracle://localhost/x"),  # a driver that nobody has installed
        ("REDIS_URL", "nope"),
        ("LONGTASK_LEASE_SECONDS", "abc"),
        ("WEB_CONCURRENCY", "x"),
        ("PORT", "abc"),
        ("MAIL_PORT", "x"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named_in_one_sentence(setting: str, value: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import config"],
        cwd=ROOT,
        env={**os.environ, "SECRET_KEY": "tests", setting: value},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert setting in done.stderr
    assert "secret" not in done.stderr
    assert len(done.stderr.splitlines()) == 1
