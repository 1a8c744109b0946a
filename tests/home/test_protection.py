"""Protected routes are protected in every app, and `authorize` is called in every request."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import group, shared_task
from flask import Flask, session
from flask_login import LoginManager, UserMixin
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from werkzeug.wrappers import Response

from flask_longtask import LongTask, accepted, protect
from flask_longtask.web.streams import stream
from tests.home.conftest import close

Guest = Callable[..., Flask]

FOREIGN = {"Origin": "https://elsewhere.example"}
TOKEN = "a token"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@shared_task(name="home.wait")
def wait() -> None: ...


def add_start(app: Flask) -> None:
    @app.post("/start")
    @protect
    def start() -> Response:
        return accepted(wait.delay())


@pytest.fixture
def with_token(database: str) -> Iterator[Flask]:
    app = Flask("token")
    app.config.update(
        CELERY={"broker_url": database, "result_backend": database},
        LONGTASK_API_TOKEN=TOKEN,
        SECRET_KEY="tests",
    )
    celery = LongTask().init_app(app)
    add_start(app)
    yield app
    close(celery)


def test_a_refused_request_opens_nothing_for_the_next_one(with_token: Flask, database: str) -> None:
    # Given an app context that all requests share, as scripts and fixtures push one
    client = with_token.test_client()
    with with_token.app_context():
        assert [client.post("/start").status_code for _ in range(3)] == [401, 401, 401]
        assert client.post("/start", headers=BEARER).status_code == 202
        assert client.post("/start", headers=BEARER | FOREIGN).status_code == 403
        assert client.post("/start").status_code == 401

        # And the next request does not see data of the last one
        keys = [BEARER | {"Idempotency-Key": key} for key in ("one", "one", "two")]
        ids = [client.post("/start", headers=key).json["task_id"] for key in keys]
    assert ids[0] == ids[1] != ids[2]


def test_everything_that_is_ours_asks_for_the_token(with_token: Flask) -> None:
    client = with_token.test_client()
    for path in ("/status/x", "/status?id=x", "/tasks", "/result/x", "/openapi.json"):
        assert client.get(path).status_code == 401, path
    assert client.get("/health").status_code == 200


def test_another_sites_page_can_neither_give_tokens_nor_log_a_visitor_out(
    with_token: Flask,
) -> None:
    @with_token.get("/log-in")
    def log_in() -> str:
        session["user"] = "ann"
        return ""

    @with_token.get("/who")
    def who() -> str:
        return str(session.get("user"))

    client = with_token.test_client()
    client.get("/log-in")
    for _ in range(20):
        assert client.post("/session", data={"token": "wrong"}, headers=FOREIGN).status_code == 403
    assert client.post("/session", data={"token": TOKEN}).status_code == 204
    assert client.get("/who").text == "ann"
    assert client.post("/start").status_code == 202


def test_a_second_call_can_neither_take_authorize_away_nor_be_without_it(database: str) -> None:
    app = Flask("twice")
    app.config["CELERY"] = {"broker_url": database, "result_backend": database}
    celery = LongTask().init_app(app)

    with pytest.raises(RuntimeError, match="already has LongTask, with a different authorize"):
        LongTask().init_app(app, authorize=lambda task, action: False)

    assert LongTask().init_app(app) is celery
    assert LongTask(app, celery=celery, url_prefix="") is not None
    close(celery)


def test_who_may_not_read_a_task_is_not_told_of_it_by_cancelling(guest: Guest) -> None:
    allowed = {"read"}
    app = guest(authorize=lambda task, action: action in allowed)
    add_start(app)
    client = app.test_client()
    address = client.post("/start").headers["Location"]

    assert client.get(address).status_code == 200
    assert client.delete(address).status_code == 403
    allowed |= {"cancel"}
    allowed -= {"read"}
    for response in (client.get(address), client.delete(address), client.post(address)):
        assert response.status_code == 403
        assert "task_id" not in response.text
    task_id = address.rpartition("/")[2]
    assert client.get(f"/status?id={task_id}").json == {"tasks": {task_id: None}}
    assert client.get(f"/result/{task_id}").status_code == 403
    stream_of = {"Accept": "text/event-stream"}
    assert client.get(address, headers=stream_of).status_code == 403


def test_a_stream_ends_in_time_to_be_asked_for_anew(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "PERMITTED", 0.1)
    monkeypatch.setattr(stream, "HEARTBEAT", 0.05)
    app = guest(authorize=lambda task, action: True)
    add_start(app)
    client = app.test_client()
    address = client.post("/start").headers["Location"]

    answer = client.get(address, headers={"Accept": "text/event-stream"})

    assert answer.text.count("data: ") == 1


@pytest.mark.parametrize(("said", "kept"), [(7, "7"), ("ann", "ann"), ("", None), (None, None)])
def test_who_is_asking_may_be_a_number_or_nobody(guest: Guest, said: Any, kept: str | None) -> None:
    owners = []

    def authorize(task: dict[str, Any], action: str) -> bool:
        owners.append(task["owner"])
        return True

    app = guest(identify=lambda: said, authorize=authorize)
    add_start(app)
    client = app.test_client()

    address = client.post("/start").headers["Location"]

    assert client.get(address).status_code == 200
    assert owners == [kept]


@pytest.mark.parametrize(("said", "kept"), [(7, "7"), ("ann", "ann")])
def test_so_may_the_user_that_flask_login_knows(guest: Guest, said: Any, kept: str) -> None:
    class User(UserMixin):  # type: ignore[misc]  # Flask-Login has no types
        def get_id(self) -> Any:
            return said

    owners = []

    def authorize(task: dict[str, Any], action: str) -> bool:
        owners.append(task["owner"])
        return True

    app = guest(authorize=authorize)
    LoginManager(app).request_loader(lambda request: User())
    add_start(app)
    client = app.test_client()

    address = client.post("/start", headers={"Idempotency-Key": "1"}).headers["Location"]

    assert client.get(address).status_code == 200
    assert owners == [kept]
    assert len(client.get("/tasks").json["tasks"]) == 1


def test_what_identify_raises_is_the_apps_own_affair(guest: Guest) -> None:
    def identify() -> str:
        raise RedisConnectionError("the app's own cache")

    app = guest(identify=identify)
    app.register_error_handler(RedisConnectionError, lambda error: (str(error), 418))
    add_start(app)

    response = app.test_client().get("/tasks")

    assert (response.status_code, response.text) == (418, "the app's own cache")


def test_an_app_without_longtask_sends_the_tasks_of_one_that_has_it(
    guest: Guest, database: str
) -> None:
    celery = guest().extensions["celery"]
    other = Flask("other")

    @other.post("/send")
    def send() -> str:
        return str(celery.send_task("home.wait").id)

    assert other.test_client().post("/send").status_code == 200
    with Redis.from_url(database) as redis:
        assert redis.llen("celery") == 1


def test_two_apps_with_one_celery_app_each_go_by_their_own_settings(guest: Guest) -> None:
    one = guest()
    other = Flask("other")
    one.config["LONGTASK_MAX_WAITING"] = 1
    celery = one.extensions["celery"]
    LongTask(other, celery=celery)
    for app in (one, other):
        add_start(app)

    def starts(app: Flask) -> list[int]:
        return [app.test_client().post("/start").status_code for _ in range(2)]

    assert starts(one) == [202, 503]
    assert starts(other) == [202, 202]


@pytest.mark.parametrize("kind", ["group", "loop"])
@pytest.mark.parametrize("broker", ["Redis", "memory"])
def test_a_request_starts_all_of_its_tasks_or_none(database: str, broker: str, kind: str) -> None:
    # Given an app in which 3 tasks may wait, and a request that starts 5
    app = Flask("several")
    app.config["LONGTASK_MAX_WAITING"] = 3
    app.config["CELERY"] = {
        "broker_url": database if broker == "Redis" else "memory://",
        "result_backend": database,
        "task_default_queue": f"several-{kind}",  # all apps of this process share the memory
    }
    celery = LongTask().init_app(app)
    add_start(app)
    ways: dict[str, Callable[[], Any]] = {
        "group": lambda: group(wait.si() for _ in range(5)).delay(),
        "loop": lambda: [wait.delay() for _ in range(5)][-1],
    }

    @app.post("/start-several")
    @protect
    def start_several() -> Response:
        return accepted(ways[kind]())

    def known() -> int:
        return len(celery.backend.store.client.keys("longtask:task:*"))

    records = 7 if kind == "group" else 6  # a group has one, too

    # When there is room for two of them, then all are accepted
    client, key = app.test_client(), {"Idempotency-Key": "several"}
    assert client.post("/start").status_code == 202
    assert client.post("/start-several", headers=key).status_code == 202
    assert known() == records

    # And when there is room for none, then none is, and the same request is answered as before
    assert client.post("/start-several").status_code == 503
    assert client.post("/start-several", headers=key).status_code == 202
    assert known() == records
    close(celery)


def test_the_first_requests_may_come_at_the_same_moment(guest: Guest) -> None:
    for _ in range(10):
        app = guest()

        @app.get("/health")
        def health() -> str:
            return "own"

        start, answers = threading.Barrier(8), []

        def ask(app: Flask = app, start: Any = start, answers: list[str] = answers) -> None:
            start.wait()
            answers.append(app.test_client().get("/health").text)

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == ["own"] * 8


@pytest.mark.parametrize("is_first", [True, False], ids=["LongTask first", "LongTask last"])
def test_addresses_of_the_app_stay_its_own(database: str, is_first: bool) -> None:
    def add_routes(app: Flask) -> None:
        @app.get("/tasks/")
        def tasks() -> str:
            return "own tasks"

        @app.get("/status/<path:order>")
        def status(order: str) -> str:
            return f"own {order}"

        @app.get("/<path:page>")
        def page(page: str) -> str:
            return f"page {page}"

    app = Flask("own")
    app.config["CELERY"] = {"broker_url": database, "result_backend": database}
    app.config["SERVER_NAME"] = "shop.example"
    if not is_first:
        add_routes(app)
    celery = LongTask().init_app(app)
    if is_first:
        add_routes(app)
    client = app.test_client()

    for host in ("http://shop.example", "http://10.0.0.1:5000"):
        moved = client.get("/tasks", base_url=host)
        assert (moved.status_code, moved.headers["Location"][-7:]) == (308, "/tasks/")
        assert client.get("/status/a/b", base_url=host).text == "own a/b"
        # A route for every address does not hide LongTask's routes: otherwise no prefix would help.
        assert client.get("/health", base_url=host).json["redis"] == "up"
        assert client.get("/about/us", base_url=host).text == "page about/us"
    close(celery)


def test_a_route_for_ids_of_tasks_is_noticed_and_one_for_numbers_is_not(guest: Guest) -> None:
    numbers, ids = guest(), guest()

    @numbers.get("/status/<int:order>")
    def order_status(order: int) -> str:
        return f"order {order}"

    @ids.get("/status/<uuid:id>")
    def id_status(id: Any) -> str:
        return "own"

    for app in (numbers, ids):
        add_start(app)
    response = numbers.test_client().post("/start")
    assert numbers.test_client().get(response.headers["Location"]).json["state"] == "PENDING"
    assert numbers.test_client().get("/status/17").text == "order 17"
    ids.testing = True
    with pytest.raises(RuntimeError, match="/status/<id>"):
        ids.test_client().post("/start")
