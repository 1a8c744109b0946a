"""How many tasks one client may start, counted in Redis."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from limits import parse_many
from redis import Redis

from tests.processes import PATIENCE, ROOT, RedisServer, WebServer

QUICK = {"steps": 1, "delay": 0}


@pytest.fixture
def start(app: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Start a task from an address, where three a minute may be started."""
    monkeypatch.setitem(app.config, "LONGTASK_RATE_LIMIT", "3 per minute")

    def start(address: str, path: str = "/longtask", **body: Any) -> Any:
        body = body or {"json": QUICK}
        return app.test_client().post(path, environ_base={"REMOTE_ADDR": address}, **body)

    return start


def test_one_client_can_start_so_many_and_is_then_told_when_to_come_again(
    start: Callable[..., Any],
) -> None:
    assert [start("192.0.2.20").status_code for _ in range(3)] == [202] * 3

    refused = start("192.0.2.20")

    assert (refused.status_code, refused.mimetype) == (429, "application/problem+json")
    assert 1 <= int(refused.headers["Retry-After"]) <= 61
    assert "3 starts a minute" in refused.json["detail"]
    assert start("192.0.2.21").status_code == 202


def test_each_start_route_counts_for_itself(start: Callable[..., Any]) -> None:
    for _ in range(4):
        last = start("192.0.2.22")
    assert last.status_code == 429

    assert start("192.0.2.22", "/tasks", json={"type": 0}).status_code == 202


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/longtask", {"json": QUICK}),
        ("/double", {"json": {"number": 1}}),
        ("/tasks", {"json": {"type": 0}}),
        ("/imports", {"data": {}, "content_type": "multipart/form-data"}),
        ("/mail", {"json": {}}),
        ("/users", {"json": {}}),
    ],
)
def test_every_start_route_is_limited(start: Callable[..., Any], path: str, body: Any) -> None:
    answers = [start("192.0.2.23", path, **body).status_code for _ in range(4)]

    assert answers[3] == 429
    assert 429 not in answers[:3]


def test_asking_and_cancelling_are_not_limited(app: Any, start: Callable[..., Any]) -> None:
    client = app.test_client()
    address = {"REMOTE_ADDR": "192.0.2.24"}
    for _ in range(4):
        task = start("192.0.2.24")
    assert task.status_code == 429
    other = client.post("/longtask", json=QUICK, environ_base={"REMOTE_ADDR": "192.0.2.25"})

    for _ in range(10):
        assert client.get(other.headers["Location"], environ_base=address).status_code == 200
    assert client.delete(other.headers["Location"], environ_base=address).status_code in (200, 409)


def test_a_subscriber_with_a_network_of_his_own_is_one_client(start: Callable[..., Any]) -> None:
    answers = [start(f"2001:db8:1:2::{number}").status_code for number in range(4)]

    assert answers == [202, 202, 202, 429]
    assert start("2001:db8:1:3::1").status_code == 202


@pytest.mark.parametrize(
    ("body", "most"),
    [({"steps": 1000, "delay": 60}, "3.6"), ({"steps": 61, "delay": "59.1"}, "59.016")],
)
def test_no_demo_task_holds_its_place_for_longer_than_an_hour(
    client: Any, body: dict[str, Any], most: str
) -> None:
    for arguments in ({"json": body}, {"data": body}):
        refused = client.post("/longtask", **arguments)

        assert (refused.status_code, refused.json["field"]) == (400, "delay")
        assert f"at most {most} with {body['steps']:,} steps" in refused.json["detail"]
        assert "3,600 seconds" in refused.json["detail"]

    just = client.post("/longtask", json={**body, "delay": most})
    assert just.status_code == 202
    client.delete(just.headers["Location"])


def test_the_number_of_steps_that_is_drawn_counts_too(
    app: Any, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(app.config, "LONGTASK_DEMO_SECONDS", 99)

    assert client.post("/longtask", json={"delay": 10}).json["field"] == "delay"  # 10 to 50 steps


def test_the_default_lets_a_page_start_twenty_bars_several_times() -> None:
    command = [sys.executable, "-c", "import config; print(config.LONGTASK_RATE_LIMIT)"]
    environment = {**os.environ, "LONGTASK_RATE_LIMIT": "", "SECRET_KEY": "tests"}
    default = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True)

    [limit] = parse_many(default.stdout.decode())
    assert limit.amount >= 5 * 20
    assert limit.get_expiry() <= 60


def test_all_web_processes_count_together(folder: Path, redis_server: RedisServer) -> None:
    servers = [
        WebServer(f"web-limited-{n}", folder, redis_server.url(7), LONGTASK_RATE_LIMIT="4/minute")
        for n in range(2)
    ]
    try:
        answers = [
            requests.post(
                f"{servers[n % 2].url}/longtask", json=QUICK, timeout=PATIENCE
            ).status_code
            for n in range(6)
        ]
        assert answers == [202] * 4 + [429] * 2
    finally:
        for server in servers:
            server.stop()


def test_one_setting_turns_all_limits_off(folder: Path, redis_server: RedisServer) -> None:
    settings = {
        "LONGTASK_RATE_LIMIT": "1/minute",
        "MAIL_LIMIT": "1/minute",
        "RATELIMIT_ENABLED": "no",
    }
    server = WebServer("web-unlimited", folder, redis_server.url(8), **settings)
    try:
        for _ in range(3):
            for path, body in [("/longtask", QUICK), ("/mail", {"email": "ann@example.com"})]:
                assert (
                    requests.post(f"{server.url}{path}", json=body, timeout=PATIENCE).status_code
                    == 202
                )
        with Redis.from_url(redis_server.url(8)) as redis:
            assert not list(redis.scan_iter("LIMITS*"))
    finally:
        server.stop()


@pytest.fixture
def outage(folder: Path) -> Iterator[tuple[RedisServer, WebServer]]:
    redis_server = RedisServer("redis-of-limits", folder)
    web = WebServer("web-of-limits", folder, redis_server.url())
    yield redis_server, web
    web.stop()
    redis_server.stop()


@pytest.mark.parametrize("how", ["is stopped", "hangs"])
def test_while_redis_is_away_a_start_is_answered_503(
    outage: tuple[RedisServer, WebServer], how: str
) -> None:
    redis_server, web = outage

    def ask() -> requests.Response:
        return requests.post(f"{web.url}/longtask", json=QUICK, timeout=PATIENCE)

    assert ask().status_code == 202

    redis_server.stop() if how == "is stopped" else redis_server.pause()
    try:
        for _ in range(3):
            response = ask()
            assert response.status_code == 503
            assert response.headers["Content-Type"] == "application/problem+json"
            assert response.headers["Retry-After"]
    finally:
        redis_server.start() if how == "is stopped" else redis_server.resume()
    assert "Traceback" not in web.log.read_text()
