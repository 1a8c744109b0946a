"""Whose an idempotency key is, and whose a list of tasks: the app's user, else the browser, else the address."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from redis import Redis

from tests.processes import PATIENCE, RedisServer, WebServer

DATABASE = 14

QUICK = {"steps": 1, "delay": 0}

#: A key that anybody may think of.
KEY = {"Idempotency-Key": "1"}

Start = Callable[..., str]


@pytest.fixture
def start(app: Any) -> Start:
    """Start a task with the key; in a browser, if one is given, else as a program that keeps no cookies."""

    def start(address: str, browser: Any = None) -> str:
        response = (browser or app.test_client()).post(
            "/longtask", json=QUICK, headers=KEY, environ_base={"REMOTE_ADDR": address}
        )
        assert response.status_code == 202, response.text
        return str(response.json["task_id"])

    return start


@pytest.fixture
def browser(app: Any) -> Callable[[], Any]:
    """A browser that has seen the page."""

    def browser() -> Any:
        client = app.test_client()
        assert client.get("/").status_code == 200
        return client

    return browser


def test_nobody_gets_the_task_of_another_address_by_guessing_its_key(start: Start) -> None:
    tasks = [start(f"203.0.113.{number}") for number in (1, 2, 1, 2)]

    assert tasks[0] != tasks[1]
    assert tasks[:2] == tasks[2:]


def test_a_network_is_one_address(start: Start) -> None:
    assert start("2001:db8:7::1") == start("2001:db8:7::2") != start("2001:db8:8::1")


def test_nobody_gets_the_task_of_another_browser_by_guessing_its_key(
    start: Start, browser: Callable[[], Any]
) -> None:
    one, other = browser(), browser()

    task = start("203.0.113.3", one)

    assert start("203.0.113.3", other) != task
    assert start("203.0.113.3") != task
    assert start("203.0.113.3", one) == task
    assert start("203.0.113.4", one) == task  # it has moved


def test_a_program_that_begins_to_keep_cookies_still_gets_its_task(app: Any, start: Start) -> None:
    program = app.test_client()
    first = start("203.0.113.5", program)
    assert program.get_cookie("session")

    assert start("203.0.113.5", program) == first  # with the cookie that the first answer gave
    assert start("203.0.113.5") == first  # that answer was lost
    assert start("203.0.113.6", program) == first  # it has moved
    assert start("203.0.113.6") != first


def test_a_cookie_of_ones_own_making_is_no_way_to_anothers_task(app: Any, start: Start) -> None:
    task = start("203.0.113.7")
    forger = app.test_client()
    forger.set_cookie("session", "eyJsb25ndGFza19rZXlzIjoiMjAzLjAuMTEzLjcifQ.aaaaaa.aaaaaaaaaaa")

    assert start("203.0.113.8", forger) != task


# -- an app that knows its users ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def guest(folder: Path, redis_server: RedisServer) -> Iterator[WebServer]:
    server = WebServer("guest-of-users", folder, redis_server.url(DATABASE), app="tests.guest:app")
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def nothing_is_kept(redis_server: RedisServer) -> Iterator[None]:
    yield
    with Redis.from_url(redis_server.url(DATABASE)) as redis:
        redis.flushdb()


def ask(guest: WebServer, user: str | None, session: requests.Session, path: str = "/start") -> str:
    headers = {**KEY, **({} if user is None else {"X-User": user})}
    answer = session.post(f"{guest.url}{path}", headers=headers, timeout=PATIENCE)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["task_id"])


def listed(guest: WebServer, user: str | None, session: requests.Session) -> list[str]:
    headers = {} if user is None else {"X-User": user}
    answer = session.get(f"{guest.url}/tasks", headers=headers, timeout=PATIENCE)
    return [task["task_id"] for task in answer.json()["tasks"]]


@pytest.mark.parametrize("path", ["/start", "/ask-first"])
def test_a_user_is_the_same_one_in_every_browser(guest: WebServer, path: str) -> None:
    with requests.Session() as laptop, requests.Session() as phone:
        anns = ask(guest, "ann", laptop, path)

        assert ask(guest, "ann", phone, path) == anns
        assert ask(guest, "bob", laptop, path) != anns
        assert ask(guest, None, laptop, path) != anns
        # Not one is who is called as the address
        assert ask(guest, "127.0.0.1", requests.Session(), path) != ask(
            guest, None, requests.Session(), path
        )


def test_a_user_is_told_his_tasks_in_every_browser_and_nobody_elses(guest: WebServer) -> None:
    with requests.Session() as laptop, requests.Session() as phone:
        anns, bobs = ask(guest, "ann", laptop), ask(guest, "bob", laptop)

        assert listed(guest, "ann", phone) == listed(guest, "ann", laptop) == [anns]
        assert listed(guest, "bob", phone) == [bobs]
        # Who has logged out is not told what the user has started
        assert listed(guest, None, laptop) == []


def test_an_address_is_told_no_tasks(guest: WebServer) -> None:
    ask(guest, None, requests.Session())

    assert listed(guest, None, requests.Session()) == []


def test_to_say_nothing_of_the_user_is_to_say_that_there_is_none(guest: WebServer) -> None:
    with requests.Session() as browser:
        assert ask(guest, "", browser) == ask(guest, None, browser)
