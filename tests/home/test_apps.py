"""Several apps and Celery apps, factories, blueprints and mount points: each app shows its own tasks."""

import logging
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import pytest
from celery import Celery, shared_task
from celery import current_app as current_celery
from flask import Blueprint, Flask, g, request
from flask_wtf.csrf import CSRFProtect
from redis import Redis
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.test import Client
from werkzeug.wrappers import Response

from flask_longtask import LongTask, accepted
from flask_longtask.store.clients.browsers import Browsers
from tests.home.conftest import close

Guest = Callable[..., Flask]


@shared_task(name="home.greet")
def greet(name: str = "") -> str:
    return f"Hello {name}"


def add_start(app: Flask | Blueprint, path: str = "/start") -> None:
    @app.post(path)
    def start() -> Response:
        return accepted(greet.delay(request.form.get("name", "")))


def start(app: Flask, path: str = "/start") -> tuple[str, str]:
    """Start a task, and return its id and its address."""
    response = app.test_client().post(path)
    assert response.status_code == 202, response.text
    return response.json["task_id"], response.headers["Location"]


def add_async_start(app: Flask) -> None:
    @app.post("/async")
    @LongTask.protect
    async def start_async() -> Response:
        return accepted(greet.delay())


def waiting(url: str, queue: str = "celery") -> int:
    with Redis.from_url(url) as redis:
        return int(redis.llen(queue))


@pytest.mark.parametrize("path", ["/start", "/async"])
def test_each_of_two_apps_has_its_own_tasks(
    guest: Guest, new_database: Callable[[], str], path: str
) -> None:
    urls = [new_database(), new_database()]
    one, other = (guest(name, url) for name, url in zip(("one", "other"), urls, strict=True))
    for app in (one, other):
        add_start(app)
        add_async_start(app)

    # In whatever order, and again
    for app, elsewhere in ((one, other), (other, one), (one, other)):
        task_id, address = start(app, path)
        assert app.test_client().get(address).json["task_id"] == task_id
        assert elsewhere.test_client().get(address).status_code == 404
    assert [*map(waiting, urls)] == [2, 1]


def test_a_factory_makes_as_many_apps_as_one_likes(new_database: Callable[[], str]) -> None:
    longtask = LongTask(url_prefix="/jobs")

    def create_app() -> Flask:
        app = Flask("made")
        url = new_database()
        app.config["CELERY"] = {"broker_url": url, "result_backend": url}
        longtask.init_app(app)
        add_start(app)
        return app

    apps = [create_app() for _ in range(3)]
    addresses = [start(app)[1] for app in apps]

    assert all(address.startswith("http://localhost/jobs/status/") for address in addresses)
    for app, address in zip(apps, addresses, strict=True):
        found = [each.test_client().get(address).status_code for each in apps]
        assert sorted(found) == [200, 404, 404]
        assert app.test_client().get(address).status_code == 200
        close(app.extensions["longtask"].celery)


def test_what_init_app_is_given_goes_before_what_longtask_was_given(database: str) -> None:
    longtask = LongTask(url_prefix="/jobs")
    app = Flask("given")
    app.config["CELERY"] = {"broker_url": database, "result_backend": database}

    celery = longtask.init_app(app, url_prefix="/other")

    assert app.test_client().get("/other/health").status_code == 200
    assert app.test_client().get("/jobs/health").status_code == 404
    close(celery)


def test_a_second_init_app_does_no_harm(guest: Guest) -> None:
    app = guest()
    add_start(app)
    celery = app.extensions["longtask"].celery

    assert LongTask().init_app(app) is celery
    LongTask(app)

    assert app.extensions["longtask"].celery is celery
    assert len([rule for rule in app.url_map.iter_rules() if str(rule) == "/tasks"]) == 1
    task_id, address = start(app)
    assert app.test_client().get(address).json["task_id"] == task_id


def test_the_apps_own_celery_app_stays_where_it_is(database: str, guest: Guest) -> None:
    own = Celery("own", broker=database, backend=database)
    own.set_default()
    app = Flask("with its own")
    app.extensions["celery"] = own
    app.config["CELERY"] = {"broker_url": database, "result_backend": database}

    made = LongTask().init_app(app)

    assert app.extensions["celery"] is own
    assert made is not own
    assert type(own) is Celery
    assert current_celery.main == "own"
    with app.app_context():
        assert current_celery.main == "own"
    close(made)
    own.close()


def test_without_one_of_its_own_the_app_has_the_one_that_was_made(guest: Guest) -> None:
    app = guest()

    assert app.extensions["celery"] is app.extensions["longtask"].celery


def test_two_apps_share_a_celery_app(database: str, guest: Guest) -> None:
    # As a site and its administration do
    own = Celery("shared", broker=database, backend=database)
    site, admin = guest("site", celery=own), guest("admin", celery=own, url_prefix="/jobs")
    add_start(site)
    add_start(admin)

    for app in (site, admin):
        task_id, address = start(app)
        assert app.test_client().get(address).json["task_id"] == task_id
        assert site.test_client().get(f"/status/{task_id}").status_code == 200


def test_a_task_of_another_celery_app_is_refused_in_a_sentence(
    guest: Guest, new_database: Callable[[], str]
) -> None:
    app, url = guest(), new_database()
    other = Celery("other", broker=url, backend=url, set_as_current=False)

    @other.task(name="theirs")
    def theirs() -> None: ...

    with app.test_request_context("/"), pytest.raises(RuntimeError) as raised:
        accepted(theirs.apply_async(ignore_result=True))

    said = str(raised.value)
    assert "other" in said
    assert "celery=" in said
    assert said.endswith(".")
    assert "\n" not in said
    assert waiting(url) == 1
    other.close()


def test_a_task_of_another_app_is_refused_in_a_sentence(
    guest: Guest, new_database: Callable[[], str]
) -> None:
    one, other = guest("one", new_database()), guest("other", new_database())
    with one.app_context():
        result = greet.delay()

    with other.test_request_context("/"), pytest.raises(RuntimeError) as raised:
        accepted(result)

    assert "one" in str(raised.value)
    with one.test_request_context("/"):
        assert accepted(result).status_code == 202


def test_routes_of_a_blueprint_start_tasks(guest: Guest) -> None:
    app = guest(url_prefix="/jobs")
    inner, outer = Blueprint("inner", __name__), Blueprint("outer", __name__)
    add_start(inner)
    outer.register_blueprint(inner, url_prefix="/inner")
    app.register_blueprint(outer, url_prefix="/outer")

    task_id, address = start(app, "/outer/inner/start")

    assert address == f"http://localhost/jobs/status/{task_id}"


FOREIGN = {"Sec-Fetch-Site": "cross-site"}


@pytest.mark.parametrize("kind", ["view", "blueprint", "app"])
def test_what_is_protected_refuses_other_sites_and_keeps_to_a_key(guest: Guest, kind: str) -> None:
    app = guest()
    blueprint = Blueprint("starts", __name__)
    if kind == "view":

        @app.post("/start")
        @LongTask.protect
        def start_protected() -> Response:
            return accepted(greet.delay())
    elif kind == "blueprint":
        add_start(LongTask.protect(blueprint))
        app.register_blueprint(blueprint)
    else:
        add_start(LongTask.protect(app))

    @app.post("/callback")
    def callback() -> str:
        return "paid"

    client = app.test_client()
    assert client.post("/start", headers=FOREIGN).status_code == 403
    assert client.post("/callback", headers=FOREIGN).status_code == (403 if kind == "app" else 200)
    key = {"Idempotency-Key": "order-1"}
    first, second = (client.post("/start", headers=key).json["task_id"] for _ in range(2))
    assert first == second
    refused = client.post("/start", headers={"Idempotency-Key": " "})
    assert (refused.status_code, refused.mimetype) == (400, "application/problem+json")


def test_an_unprotected_start_route_asks_for_nothing(guest: Guest) -> None:
    app = guest()
    add_start(app)
    client = app.test_client()

    assert client.post("/start", headers=FOREIGN).status_code == 202
    keys = [{"Idempotency-Key": key} for key in ("one's own key", "one's own key", " ")]
    started = [client.post("/start", headers=key) for key in keys]

    assert [answer.status_code for answer in started] == [202] * 3
    assert len({answer.json["task_id"] for answer in started}) == 3


def test_one_step_accepts_a_task_and_lists_it(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = guest()
    add_start(LongTask.protect(app))
    further_round_trips = Mock()
    monkeypatch.setattr(Browsers, "add", further_round_trips)
    monkeypatch.setattr(Browsers, "remove", further_round_trips)
    client = app.test_client()

    started = [client.post("/start").json["task_id"] for _ in range(2)]

    assert [task["task_id"] for task in client.get("/tasks").json["tasks"]] == started[::-1]
    assert further_round_trips.call_count == 0


def test_only_tasks_that_were_passed_to_accepted_are_listed(guest: Guest) -> None:
    app = guest()

    @app.post("/start")
    @LongTask.protect
    def start_several() -> Response:
        greet.delay("first")
        second = greet.delay("second")
        greet.delay("third")
        return accepted(second)

    @app.post("/silent")
    @LongTask.protect
    def start_silently() -> str:
        greet.delay()
        return "done"

    client = app.test_client()
    assert client.post("/silent").text == "done"
    assert client.get("/tasks").json["tasks"] == []
    started = client.post("/start").json["task_id"]
    assert client.post("/silent").text == "done"

    assert [task["task_id"] for task in client.get("/tasks").json["tasks"]] == [started]
    assert waiting(app.config["CELERY"]["broker_url"]) == 5
    with Redis.from_url(app.config["CELERY"]["broker_url"]) as redis:
        listed = [redis.lrange(name, 0, -1) for name in redis.scan_iter("longtask:browser:*")]
    assert listed == [[started.encode()]]


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_page_cancels_beside_csrf_protection_whichever_came_first(
    database: str, when: str
) -> None:
    app = Flask("protected")
    app.config.from_mapping(
        SECRET_KEY="x", CELERY={"broker_url": database, "result_backend": database}
    )
    if when == "before":
        CSRFProtect(app)
    celery = LongTask().init_app(app)
    if when == "after":
        CSRFProtect(app)

    @app.post("/own")
    def own() -> str:
        return "done"

    with app.test_request_context("/"):
        address = accepted(greet.delay()).headers["Location"]
    client = app.test_client()

    assert client.post("/own").status_code == 400
    assert client.delete(address, headers=FOREIGN).status_code == 403
    assert client.delete(address, headers={"Sec-Fetch-Site": "same-origin"}).status_code == 200
    close(celery)


def mounted(app: Flask) -> Client:
    return Client(DispatcherMiddleware(Flask("root"), {"/tool": app}))  # type: ignore[arg-type]


def behind_a_proxy(app: Flask) -> Client:
    app.wsgi_app = ProxyFix(app.wsgi_app, x_prefix=1, x_host=1, x_proto=1)  # type: ignore[method-assign]
    told = {"X-Forwarded-Prefix": "/tool", "X-Forwarded-Host": "localhost"}

    class Proxy(Client):
        def open(self, path: str, **options: Any) -> Any:  # type: ignore[override]
            path = path.removeprefix("http://localhost").removeprefix("/tool")
            return super().open(path, headers=told, **options)

    return Proxy(app)


@pytest.mark.parametrize("prefix", ["", "/jobs"])
@pytest.mark.parametrize("mount", [mounted, behind_a_proxy])
def test_under_a_mount_point_addresses_lead_to_the_task(
    guest: Guest, mount: Callable[[Flask], Client], prefix: str
) -> None:
    app = guest(url_prefix=prefix or None)
    add_start(app)
    client = mount(app)

    started = client.post("/tool/start", data={})
    assert started.status_code == 202
    task_id = started.json["task_id"]
    assert started.headers["Location"] == f"http://localhost/tool{prefix}/status/{task_id}"
    path = started.headers["Location"].removeprefix("http://localhost")
    assert client.get(path).json["task_id"] == task_id
    assert client.delete(path).json["state"] == "REVOKED"
    listed = client.get(f"/tool{prefix}/tasks").json["tasks"]
    assert [task["task_id"] for task in listed] == [task_id]


def test_the_prefix_may_come_from_the_settings(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LONGTASK_URL_PREFIX", "/from-environment")
    app = Flask("set")
    app.config["CELERY"] = {"broker_url": database, "result_backend": database}
    celery = LongTask().init_app(app)

    assert app.test_client().get("/from-environment/health").status_code == 200
    close(celery)


def test_an_app_with_subdomains_has_its_routes_at_the_main_one(guest: Guest) -> None:
    app = guest()
    app.config["SERVER_NAME"] = "shop.test"
    add_start(app)

    _, address = start(app)

    assert address.startswith("http://shop.test/status/")


def test_bars_that_could_not_be_followed_are_refused_with_what_helps(guest: Guest) -> None:
    app = guest()
    add_start(app)

    @app.get("/status/<order>", endpoint="order_status")
    def order_status(order: str) -> str:
        return order

    with app.test_request_context("/"), pytest.raises(RuntimeError) as raised:
        accepted(greet.delay())

    assert "its own route" in str(raised.value)
    assert "url_prefix" in str(raised.value)


def test_nothing_of_longtask_is_in_the_apps_g(guest: Guest) -> None:
    app = guest()

    @app.get("/g")
    def names() -> list[str]:
        return list(g)

    assert app.test_client().get("/g").json == []


def test_a_request_of_the_apps_own_costs_nothing_by_its_number_of_routes(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = guest()

    @app.get("/tasks/own", endpoint="own_tasks")
    def own_tasks() -> str:
        return "own"

    counts = Mock(wraps=app.url_map.iter_rules)
    monkeypatch.setattr(app.url_map, "iter_rules", counts)
    client = app.test_client()

    assert client.get("/health").status_code == 200
    assert counts.call_count == 1
    assert client.get("/tasks/own").text == "own"
    assert client.get("/nowhere").status_code == 404
    assert client.get("/health").status_code == 200
    assert counts.call_count == 1


def test_a_route_that_hides_one_of_ours_is_told_in_the_log(
    guest: Guest, caplog: pytest.LogCaptureFixture
) -> None:
    app = guest()

    @app.get("/tasks", endpoint="todo_list")
    def todo_list() -> str:
        return "none"

    with caplog.at_level(logging.WARNING):
        client = app.test_client()
        assert client.get("/tasks").text == "none"
        assert client.get("/tasks").text == "none"

    said = [record.getMessage() for record in caplog.records if "/tasks" in record.getMessage()]
    assert len(said) == 1
    assert "url_prefix" in said[0]
