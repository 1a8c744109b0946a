"""Who may open the operators' page, and what an operator may do there."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask_wtf.csrf import CSRFProtect

from flask_longtask.store import Store
from tests.store.actors import record_of, send

TOKEN = "the-token-of-the-operators-4711"
HTML = {"Accept": "text/html"}
BEARER = {"Authorization": f"Bearer {TOKEN}"}

NewApp = Callable[..., Flask]


def store_of(app: Flask) -> Store:
    store: Store = app.extensions["celery"].backend.store
    return store


def code(app: Flask, path: str = "/operate", **options: Any) -> int:
    return int(app.test_client().get(path, **options).status_code)


# -- off ---------------------------------------------------------------------------------------------


def test_the_page_is_off_unless_an_app_opens_it(new_app: NewApp) -> None:
    app = new_app()

    assert [code(app, path) for path in ("/operate", "/operate/tasks")] == [404, 404]
    assert not any(rule.rule.startswith("/operate") for rule in app.url_map.iter_rules())


def test_an_app_with_a_route_of_its_own_at_operate_keeps_it(new_app: NewApp) -> None:
    app = new_app(LONGTASK_OPERATE_ON_LOOPBACK=True)
    app.get("/operate")(lambda: "my own")

    assert app.test_client().get("/operate").text == "my own"


def test_the_page_follows_the_prefix(new_app: NewApp) -> None:
    app = new_app(prefix="/jobs", LONGTASK_OPERATE_ON_LOOPBACK=True)

    assert (code(app, "/operate"), code(app, "/jobs/operate")) == (404, 200)
    assert "/jobs/operate" in app.test_client().get("/jobs/operate").text


@pytest.mark.parametrize("value", ["maybe", "2", 3])
def test_a_setting_that_is_neither_yes_nor_no_is_named(new_app: NewApp, value: Any) -> None:
    with pytest.raises(Exception, match="LONGTASK_OPERATE_ON_LOOPBACK must be yes or no"):
        new_app(LONGTASK_OPERATE_ON_LOOPBACK=value)


# -- at this machine ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("127.0.0.1", "localhost"),
        ("127.0.0.1", "127.0.0.1:5000"),
        ("127.9.9.9", "localhost:5000"),
        ("::1", "[::1]:5000"),
        ("::1", "[::1]"),
        ("::ffff:127.0.0.1", "localhost"),
    ],
)
def test_whoever_is_at_this_machine_may_open_it_if_the_setting_says_so(
    new_app: NewApp, address: str, host: str
) -> None:
    options: Any = {"environ_base": {"REMOTE_ADDR": address}, "headers": {"Host": host}}

    assert code(new_app(LONGTASK_OPERATE_ON_LOOPBACK="yes"), **options) == 200
    assert code(new_app(LONGTASK_OPERATE_ON_LOOPBACK="no"), **options) == 404


@pytest.mark.parametrize(
    ("address", "headers"),
    [
        ("192.0.2.1", {}),
        ("", {}),
        ("127.0.0.1", {"X-Forwarded-For": "127.0.0.1"}),
        ("127.0.0.1", {"X-Forwarded-For": ""}),
        ("127.0.0.1", {"Forwarded": "for=127.0.0.1"}),
        ("127.0.0.1", {"X-Real-IP": "127.0.0.1"}),
        ("127.0.0.1", {"Via": "1.1 proxy"}),
        ("127.0.0.1", {"Host": "evil.example"}),
        ("127.0.0.1", {"Host": "localhost.evil.example"}),
        ("127.0.0.1", {"Host": "127.0.0.1.evil.example:5000"}),
        ("127.0.0.1", {"Host": "192.0.2.1"}),
    ],
)
def test_nobody_else_is_taken_for_being_at_this_machine(
    new_app: NewApp, address: str, headers: dict[str, str]
) -> None:
    app = new_app(LONGTASK_OPERATE_ON_LOOPBACK=True)
    options: Any = {"environ_base": {"REMOTE_ADDR": address}, "headers": headers}

    assert [code(app, path, **options) for path in ("/operate", "/operate/tasks")] == [404, 404]


def test_a_proxy_that_speaks_http_1_0_is_not_taken_for_a_browser_here(new_app: NewApp) -> None:
    app = new_app(LONGTASK_OPERATE_ON_LOOPBACK=True)

    assert code(app) == 200
    assert code(app, environ_overrides={"SERVER_PROTOCOL": "HTTP/1.0"}) == 404


def test_an_authorize_that_fails_keeps_the_page_closed(new_app: NewApp) -> None:
    def authorize(task: dict[str, Any], action: str) -> bool:
        return bool(task["task"].startswith("public"))

    assert code(new_app(authorize)) == 404


# -- the token ---------------------------------------------------------------------------------------


def test_a_person_enters_the_token_once(new_app: NewApp) -> None:
    client = new_app(LONGTASK_OPERATOR_TOKEN=TOKEN).test_client()

    asked = client.get("/operate?state=open", headers=HTML)
    assert asked.status_code == 401
    assert "Enter their token" in asked.text
    wrong = client.post("/operate/session", data={"token": "x"}, headers=HTML)
    assert (wrong.status_code, "The token is wrong." in wrong.text) == (401, True)
    right = client.post(
        "/operate/session", data={"token": TOKEN, "next": "/operate?state=open"}, headers=HTML
    )

    assert (right.status_code, right.location) == (303, "/operate?state=open")
    assert client.get("/operate").status_code == 200
    assert client.get("/operate/tasks").status_code == 200


def test_a_program_sends_it_as_a_bearer_token(new_app: NewApp) -> None:
    app = new_app(LONGTASK_OPERATOR_TOKEN=TOKEN)

    assert code(app, "/operate/tasks", headers=BEARER) == 200
    wrong = app.test_client().get("/operate/tasks", headers={"Authorization": "Bearer x"})
    assert (wrong.status_code, wrong.json["detail"]) == (401, "The token is wrong.")
    assert "WWW-Authenticate" in wrong.headers


def test_another_token_ends_the_session(new_app: NewApp) -> None:
    client = new_app(LONGTASK_OPERATOR_TOKEN=TOKEN).test_client()
    client.post("/operate/session", data={"token": TOKEN})
    cookie = client.get_cookie("session")
    other = new_app(LONGTASK_OPERATOR_TOKEN="another").test_client()
    other.set_cookie("session", cookie.value)

    assert other.get("/operate/tasks").status_code == 401


def test_wrong_tokens_are_limited(new_app: NewApp) -> None:
    app = new_app(LONGTASK_OPERATOR_TOKEN=TOKEN, LONGTASK_WRONG_TOKENS=3)
    for number in range(3):
        if number % 2:
            app.test_client().post("/operate/session", data={"token": "x"})
        else:
            code(app, "/operate/tasks", headers={"Authorization": "Bearer x"})

    assert code(app, "/operate/tasks", headers=BEARER) == 429
    given = app.test_client().post("/operate/session", data={"token": TOKEN})
    assert given.status_code == 429


def test_an_empty_token_opens_nothing(new_app: NewApp) -> None:
    app = new_app(LONGTASK_OPERATE_ON_LOOPBACK=True)
    client = app.test_client()

    given = client.post("/operate/session", data={"token": ""})

    assert given.status_code == 404
    assert code(app, environ_base={"REMOTE_ADDR": "192.0.2.1"}) == 404


def test_without_sessions_the_token_cannot_be_kept_but_sent(new_app: NewApp) -> None:
    app = new_app(LONGTASK_OPERATOR_TOKEN=TOKEN)
    app.secret_key = None

    assert app.test_client().post("/operate/session", data={"token": TOKEN}).status_code == 401
    assert code(app, "/operate/tasks", headers=BEARER) == 200


def test_the_operators_token_opens_only_their_page_and_the_other_token_not_that_page(
    new_app: NewApp,
) -> None:
    app = new_app(LONGTASK_OPERATOR_TOKEN=TOKEN, LONGTASK_API_TOKEN="for everybody")
    theirs = {"Authorization": "Bearer for everybody"}

    assert (code(app, "/operate/tasks", headers=BEARER), code(app, "/tasks", headers=BEARER)) == (
        200,
        401,
    )
    assert (code(app, "/operate/tasks", headers=theirs), code(app, "/tasks", headers=theirs)) == (
        401,
        200,
    )


def test_at_this_machine_the_token_of_the_site_is_required_too(new_app: NewApp) -> None:
    app = new_app(LONGTASK_OPERATE_ON_LOOPBACK=True, LONGTASK_API_TOKEN=TOKEN)

    asked = app.test_client().get("/operate", headers=HTML)
    assert (asked.status_code, "Enter the token to open this site." in asked.text) == (401, True)
    assert code(app, headers=BEARER) == 200


# -- authorize ---------------------------------------------------------------------------------------


def test_whom_authorize_allows_to_operate_may_open_it(new_app: NewApp) -> None:
    asked = []

    def authorize(task: dict[str, Any], action: str) -> bool:
        asked.append((task, action))
        return True

    assert code(new_app(authorize)) == 200
    task, action = asked[0]
    assert action == "operate"
    assert {name for name, value in task.items() if value is not None} == {"owner"}
    assert set(task) > {"state", "status", "task_id", "task", "owner", "parts", "meta"}
    assert code(new_app(lambda task, action: action != "operate")) == 404


def test_authorize_may_be_async(new_app: NewApp) -> None:
    async def authorize(task: dict[str, Any], action: str) -> bool:
        return True

    assert code(new_app(authorize)) == 200


def test_a_visitor_whom_nobody_knows_is_not_taken_for_the_owner_of_no_task(new_app: NewApp) -> None:
    assert code(new_app(lambda task, action: task["owner"] == None)) == 404  # noqa: E711


def test_whom_authorize_lets_in_may_do_only_what_it_says(new_app: NewApp) -> None:
    def authorize(task: dict[str, Any], action: str) -> bool:
        return action == "operate" or (action == "read" and task["owner"] != "secret")

    app = new_app(authorize)
    client = app.test_client()
    for task_id, owner in (("a", "ann"), ("b", "secret")):
        send(store_of(app), task_id, {"owner": owner})

    assert [task["task_id"] for task in client.get("/operate/tasks").json["tasks"]] == ["a"]
    assert client.delete("/operate/status/a").status_code == 403
    assert client.post("/operate/status/a").status_code == 403
    assert client.post("/operate/status/a/restart").status_code == 403
    assert "ended" not in record_of(store_of(app), "a")


def test_a_token_is_enough_where_authorize_says_no(new_app: NewApp) -> None:
    app = new_app(lambda task, action: False, LONGTASK_OPERATOR_TOKEN=TOKEN)
    send(store_of(app), "a", {"owner": "ann"})
    client = app.test_client()

    assert client.get("/operate/tasks", headers=BEARER).json["tasks"][0]["owner"] == "ann"
    assert client.delete("/status/a", headers=BEARER).status_code == 403
    assert client.delete("/operate/status/a", headers=BEARER).json["state"] == "REVOKED"


# -- actions -----------------------------------------------------------------------------------------


def test_a_program_cancels_a_task_once(app: Flask, store: Store) -> None:
    send(store, "a")
    client = app.test_client()

    assert client.delete("/operate/status/a").json["state"] == "REVOKED"
    assert client.delete("/operate/status/a").status_code == 409
    assert client.delete("/operate/status/nobody").status_code == 404


def test_a_form_cancels_a_task_and_comes_back_to_the_same_filters(app: Flask, store: Store) -> None:
    send(store, "a")
    client = app.test_client()
    query = "?state=open&words=a+b&cursor=open&other=1"

    for _ in range(2):  # that it has ended already is no error for a person
        done = client.post(f"/operate/status/a{query}")
        assert done.status_code == 303
        assert done.location == "/operate?state=open&words=a+b&cursor=open"
    assert "cancelled" in record_of(store, "a")


@pytest.mark.parametrize("method", ["DELETE", "POST"])
def test_a_page_of_another_site_does_nothing_here(app: Flask, store: Store, method: str) -> None:
    send(store, "a")

    answer = app.test_client().open(
        "/operate/status/a", method=method, headers={"Sec-Fetch-Site": "cross-site"}
    )

    assert answer.status_code == 403
    assert "ended" not in record_of(store, "a")


def test_flask_wtf_asks_for_no_token_of_its_own(app: Flask, store: Store) -> None:
    CSRFProtect(app)
    send(store, "a")

    assert app.test_client().post("/operate/status/a").status_code == 303


# -- the OpenAPI document ----------------------------------------------------------------------------


def test_its_routes_are_in_the_openapi_document_of_an_app_that_has_them(new_app: NewApp) -> None:
    app = new_app(LONGTASK_OPERATOR_TOKEN=TOKEN)
    told = app.test_client().get("/openapi.json").json["paths"]

    rules = [rule for rule in app.url_map.iter_rules() if rule.rule.startswith("/operate")]
    assert {path for path in told if path.startswith("/operate")} == {
        rule.rule.replace("<longtask_id:task_id>", "{task_id}") for rule in rules
    }
    assert "/operate" not in new_app().test_client().get("/openapi.json").json["paths"]
