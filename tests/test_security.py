"""What browsers are told not to allow, whom the app believes, and what it refuses to read."""

import json
import os
import pickle
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from flask import Flask
from playwright.sync_api import Browser, Page, expect
from redis import Redis

import security
from tests import tasks
from tests.conftest import new_context
from tests.processes import PATIENCE, RedisServer, WebServer, Worker
from tests.raw_http import send
from tests.test_browser import start, tasks_of

QUICK = {"steps": 1, "delay": 0}
UNSERVED = "unserved-security"
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}

TOKEN = "correct horse battery stäple"


# -- headers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("headers", [{}, BROWSER], ids=["a program", "a browser"])
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("get", "/", 200),
        ("post", "/longtask", None),
        ("get", "/status", 400),
        ("get", "/status/x", 404),
        ("get", "/nowhere", 404),
        ("get", "/longtask", 405),
        ("post", "/tasks", 400),
        ("get", "/health", 200),
        ("get", "/static/style.css", 200),
        ("get", "/longtask/static/longtask.js", 200),
        ("get", "/imports/sample.csv?rows=1", 200),
        ("options", "/longtask", 200),
    ],
)
def test_every_answer_tells_the_browser_what_not_to_allow(
    client: Any, method: str, path: str, status: int | None, headers: dict[str, str]
) -> None:
    with getattr(client, method)(path, headers=headers) as response:
        assert status in (None, response.status_code)
        policy = response.headers["Content-Security-Policy"]
        assert "unsafe" not in policy
        assert "*" not in policy
        directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
        assert directives["default-src"] == "'self'"
        assert directives["style-src"] == "'self'"
        assert directives["frame-ancestors"] == directives["base-uri"] == "'none'"
        assert directives["object-src"] == "'none'"
        assert directives["form-action"] == "'self'"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Referrer-Policy"] == "same-origin"
        assert response.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"


@pytest.mark.parametrize("is_here", [True, False])
def test_scripts_come_from_elsewhere_only_while_nanobar_does(tmp_path: Path, is_here: bool) -> None:
    if is_here:
        (tmp_path / "vendor").mkdir()
        (tmp_path / "vendor" / "nanobar.min.js").touch()

    policy = security._content_security_policy(Flask("x", static_folder=str(tmp_path)))

    scripts = re.search("script-src ([^;]*)", policy)
    assert scripts
    assert scripts[1].split() == ["'self'"] if is_here else scripts[1].startswith("'self' https://")


def test_the_pages_work_under_the_policy(page: Page, web: WebServer, worker: Worker) -> None:
    page.goto(web.url)
    start(page, steps=2, delay=0.1)
    expect(page.locator("[data-phase=done]")).to_have_count(1)
    for path in (tasks_of(page).get_by_role("link").first.get_attribute("href"), "/outbox", "/x"):
        page.goto(f"{web.url}{path}" if str(path).startswith("/") else str(path))
        expect(page.get_by_role("heading").first).to_be_visible()


def test_the_browser_keeps_to_the_policy(browser: Browser, web: WebServer) -> None:
    context = new_context(browser)
    page = context.new_page()
    page.goto(web.url)
    blocked = page.evaluate(
        """() => new Promise((done) => {
            document.addEventListener('securitypolicyviolation', (event) => done(event.effectiveDirective));
            const script = document.createElement('script');
            script.textContent = 'document.title = "changed"';
            document.body.append(script);
        })"""
    )
    assert blocked == "script-src-elem"
    assert page.title() != "changed"
    context.close()


# -- cookies, proxies, hosts -------------------------------------------------------------------------


@pytest.mark.parametrize(("scheme", "is_secure"), [("http", False), ("https", True)])
def test_the_session_cookie_is_for_this_site_and_no_script(
    client: Any, scheme: str, is_secure: bool
) -> None:
    cookie = client.get("/", base_url=f"{scheme}://localhost").headers["Set-Cookie"]

    flags = {part.strip() for part in cookie.split(";")}
    assert {"HttpOnly", "SameSite=Lax"} <= flags
    assert ("Secure" in flags) == is_secure


FORWARDED = {
    "X-Forwarded-For": "192.0.2.9",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "tasks.example.org",
}


@pytest.mark.parametrize("proxies", [0, 1])
def test_a_proxy_is_believed_only_if_a_setting_says_that_there_is_one(
    folder: Path, redis_server: RedisServer, proxies: int
) -> None:
    server = WebServer(
        f"web-behind-{proxies}", folder, redis_server.url(9), LONGTASK_TRUSTED_PROXIES=str(proxies)
    )
    try:
        response = requests.post(
            f"{server.url}/longtask", json=QUICK, headers=FORWARDED, timeout=PATIENCE
        )
    finally:
        server.stop()

    place = "https://tasks.example.org" if proxies else server.url
    assert response.headers["Location"].startswith(f"{place}/status/")
    assert ("Secure" in response.headers["Set-Cookie"]) == bool(proxies)


def test_a_limit_counts_the_client_and_not_the_proxy(
    folder: Path, redis_server: RedisServer
) -> None:
    settings = {"LONGTASK_TRUSTED_PROXIES": "1", "LONGTASK_RATE_LIMIT": "1/minute"}
    server = WebServer("web-behind-limited", folder, redis_server.url(9), **settings)
    try:
        answers = [
            requests.post(
                f"{server.url}/longtask",
                json=QUICK,
                headers={"X-Forwarded-For": f"192.0.2.66, 192.0.2.{client}"},
                timeout=PATIENCE,
            ).status_code
            for client in (1, 2, 1)
        ]
    finally:
        server.stop()
    assert answers == [202, 202, 429]


def test_a_request_for_a_host_that_is_not_ours_is_refused(
    folder: Path, redis_server: RedisServer
) -> None:
    server = WebServer(
        "web-of-hosts", folder, redis_server.url(9), TRUSTED_HOSTS="tasks.example.org, .example.net"
    )
    try:
        for headers in ({}, BROWSER):
            for host, status in [
                *(("tasks.example.org", 200), ("a.example.net", 200), ("127.0.0.1", 200)),
                *(("evil.example", 400), ("tasks.example.org.evil.example", 400)),
            ]:
                for path in ("/", "/health", "/nowhere" if status == 400 else "/"):
                    answer = requests.get(
                        f"{server.url}{path}", headers={"Host": host, **headers}, timeout=PATIENCE
                    )
                    assert answer.status_code == status, (host, path)
                    assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "Traceback" not in server.log.read_text()
    finally:
        server.stop()


# -- bodies ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "media_type",
    ["application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"],
)
def test_a_body_of_unknown_length_is_not_read_beyond_the_limit(
    web: WebServer, media_type: str, app: Any
) -> None:
    size = 8192
    chunk = f"{size:x}\r\n".encode() + b"x" * size + b"\r\n"
    number = 4 * app.config["MAX_CONTENT_LENGTH"] // size
    head = f"POST /longtask HTTP/1.1\r\nContent-Type: {media_type}\r\nTransfer-Encoding: chunked"

    answer = send(web, head, chunk * number + b"0\r\n\r\n", dies=False)

    assert answer.status == 413, answer
    assert "application/problem+json" in answer.head


def test_a_body_that_says_that_it_is_huge_is_not_waited_for(web: WebServer) -> None:
    # The client sends nothing of it, and waits.
    answer = send(
        web,
        "POST /longtask HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 99999999999",
        dies=False,
    )

    assert answer.status == 413


def test_a_form_of_very_many_fields_is_refused(client: Any) -> None:
    body = "&".join(f"a{number}=" for number in range(20_000))

    assert client.post("/longtask", data={"x" * 70_000: "y"}).status_code == 413
    assert client.post("/longtask", data=body).status_code in (413, 415)


# -- what is read ------------------------------------------------------------------------------------


class Exploit:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_a_worker_does_not_unpickle_a_message_and_goes_on(
    app: Any, worker: Worker, tmp_path: Path, ended: Any
) -> None:
    place = tmp_path / "exploited"
    body = pickle.dumps(([Exploit(place)], {}, {}))
    task_id = str(uuid.uuid4())
    with app.extensions["celery"].pool.acquire(block=True) as connection:
        connection.Producer().publish(
            body,
            routing_key="celery",
            content_type="application/x-python-serialize",
            content_encoding="binary",
            headers={"id": task_id, "task": "tests.tasks.returning", "lang": "py"},
        )

    result = ended(tasks.returning.delay(7).id)

    assert result["result"] == 7
    assert not place.exists()
    # With pickle accepted it would exist: this is what the message holds.
    pickle.loads(body)
    assert place.exists()


def test_the_web_does_not_unpickle_a_result(client: Any, redis: Redis, tmp_path: Path) -> None:
    place, task_id = tmp_path / "exploited", str(uuid.uuid4())
    redis.set(
        f"celery-task-meta-{task_id}", pickle.dumps({"result": Exploit(place), "status": "SUCCESS"})
    )

    assert client.get(f"/status/{task_id}").status_code == 200
    assert not place.exists()


def test_nothing_but_json_is_sent_or_accepted(app: Any) -> None:
    settings = app.extensions["celery"].conf

    assert set(settings.accept_content) == {"json"}
    assert settings.result_accept_content is None  # as accept_content
    assert settings.task_serializer == settings.result_serializer == "json"


def test_a_failure_tells_neither_its_traceback_nor_its_arguments(
    client: Any, worker: Worker, ended: Any
) -> None:
    result = tasks.failing_with.delay("a secret argument")
    ended(result.id)

    for headers in ({}, BROWSER):
        answer = client.get(f"/status/{result.id}", headers=headers).text
        assert "no such row" in answer
        for secret in ("secret argument", "Traceback", "tasks.py", 'File "'):
            assert secret not in answer


# -- LONGTASK_API_TOKEN ------------------------------------------------------------------------------

OPEN = {"longtask.health", "longtask.static", "static", "longtask_token.give"}


@pytest.fixture(scope="module")
def guarded(folder: Path, redis_server: RedisServer) -> Iterator[WebServer]:
    server = WebServer("web-guarded", folder, redis_server.url(), LONGTASK_API_TOKEN=TOKEN)
    yield server
    server.stop()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}".encode().decode("latin-1")}


def test_every_route_but_health_asks_for_the_token(app: Any, guarded: WebServer) -> None:
    asked = 0
    for rule in app.url_map.iter_rules():
        values = {name: uuid.uuid4() for name in rule.arguments if name != "filename"}
        path = rule.build({**values, "filename": "x"}, append_unknown=False)[1]
        for method in (rule.methods or set()) - {"OPTIONS"}:
            answer = requests.request(method, f"{guarded.url}{path}", timeout=PATIENCE)
            assert (answer.status_code == 401) == (rule.endpoint not in OPEN), (method, path)
            asked += 1
    assert asked > 20
    assert requests.get(f"{guarded.url}/nowhere", timeout=PATIENCE).status_code == 401
    assert requests.get(f"{guarded.url}/health", timeout=PATIENCE).status_code == 200


def test_a_request_without_the_token_is_told_how_to_show_it(guarded: WebServer) -> None:
    answer = requests.post(f"{guarded.url}/longtask", json=QUICK, timeout=PATIENCE)

    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer realm=longtask"
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    "authorization",
    [
        *(
            "Bearer",
            "Bearer x",
            f"Bearer {TOKEN}x",
            f"Bearer {TOKEN[:-1]}",
            f"bearer {TOKEN} {TOKEN}",
        ),
        *(f"Token {TOKEN}", TOKEN, "Basic dXNlcjpwYXNz", "Basic !", 'Bearer realm="x"'),
    ],
)
def test_anything_else_is_not_the_token(guarded: WebServer, authorization: str) -> None:
    headers = {"Authorization": authorization.encode().decode("latin-1")}

    assert (
        requests.get(f"{guarded.url}/tasks", headers=headers, timeout=PATIENCE).status_code == 401
    )


def test_with_the_token_all_is_as_without(folder: Path, redis_server: RedisServer) -> None:
    token = "5f0c1c1e-3f0b"
    server = WebServer("web-token", folder, redis_server.url(9), LONGTASK_API_TOKEN=token)
    try:
        started = requests.post(
            f"{server.url}/longtask", json=QUICK, headers=bearer(token), timeout=PATIENCE
        )
        assert started.status_code == 202
        for name in ("Bearer", "bearer", "BEARER"):
            answer = requests.get(
                started.headers["Location"],
                headers={"Authorization": f"{name} {token}"},
                timeout=PATIENCE,
            )
            assert answer.status_code == 200
    finally:
        server.stop()


def test_a_browser_is_asked_once(guarded: WebServer) -> None:
    with requests.Session() as session:
        session.headers.update(BROWSER)
        asked = session.get(f"{guarded.url}/status/x?y=1", timeout=PATIENCE)
        assert asked.status_code == 401
        assert 'name="token"' in asked.text
        assert 'value="/status/x?y=1"' in asked.text

        form = {"token": TOKEN, "next": "/outbox?y=1"}
        wrong = session.post(
            f"{guarded.url}/session", data={**form, "token": "x"}, timeout=PATIENCE
        )
        assert wrong.status_code == 401
        assert "The token is wrong." in wrong.text
        assert 'value="/outbox?y=1"' in wrong.text
        right = session.post(
            f"{guarded.url}/session", data=form, timeout=PATIENCE, allow_redirects=False
        )
        assert (right.status_code, right.headers["Location"]) == (303, "/outbox?y=1")
        assert TOKEN not in str(session.cookies)
        assert session.get(f"{guarded.url}/", timeout=PATIENCE).status_code == 200
        assert session.get(f"{guarded.url}/tasks", timeout=PATIENCE).status_code == 200


def test_a_script_can_give_the_token_as_json(guarded: WebServer) -> None:
    with requests.Session() as session:
        answer = session.post(f"{guarded.url}/session", json={"token": TOKEN}, timeout=PATIENCE)
        assert (answer.status_code, answer.text) == (204, "")
        assert (
            session.post(f"{guarded.url}/longtask", json=QUICK, timeout=PATIENCE).status_code == 202
        )
        for body in ({}, {"token": None}, {"token": [TOKEN]}, {"token": ""}):
            wrong = session.post(f"{guarded.url}/session", json=body, timeout=PATIENCE)
            assert wrong.status_code == 401


@pytest.mark.parametrize(
    "place",
    ["", "//evil.example", "/\\evil.example", "https://evil.example", "evil", "javascript:1"],
)
def test_nobody_is_sent_elsewhere_from_here(guarded: WebServer, place: str) -> None:
    form = {"token": TOKEN, "next": place}
    answer = requests.post(
        f"{guarded.url}/session",
        data=form,
        headers=BROWSER,
        timeout=PATIENCE,
        allow_redirects=False,
    )

    assert (answer.status_code, answer.headers["Location"]) == (303, "/")


def test_another_site_cannot_try_tokens_with_a_visitors_browser(guarded: WebServer) -> None:
    answer = requests.post(
        f"{guarded.url}/session",
        data={"token": TOKEN},
        headers={"Origin": "https://evil.example"},
        timeout=PATIENCE,
    )

    assert answer.status_code == 403
    assert "Set-Cookie" not in answer.headers


def test_a_new_token_ends_the_sessions_of_the_old_one(
    guarded: WebServer, folder: Path, redis_server: RedisServer
) -> None:
    with requests.Session() as session:
        session.post(f"{guarded.url}/session", json={"token": TOKEN}, timeout=PATIENCE)
        assert session.get(f"{guarded.url}/tasks", timeout=PATIENCE).status_code == 200
        other = WebServer("web-new-token", folder, redis_server.url(), LONGTASK_API_TOKEN="new")
        try:
            cookies = {cookie.name: cookie.value for cookie in session.cookies}
            answer = requests.get(f"{other.url}/tasks", cookies=cookies, timeout=PATIENCE)
            assert answer.status_code == 401
        finally:
            other.stop()


def test_a_person_gives_the_token_and_then_the_page_works(
    browser: Browser, guarded: WebServer, worker: Worker
) -> None:
    context = new_context(browser)
    page = context.new_page()
    errors: list[str] = []
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    page.goto(guarded.url)
    expect(page.get_by_label("Token")).to_be_focused()
    page.get_by_label("Token").fill("wrong")
    page.get_by_role("button", name="Open").click()
    expect(page.get_by_text("The token is wrong.")).to_be_visible()
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Open").click()

    start(page, steps=2, delay=0.1)
    expect(page.locator("[data-phase=done]")).to_have_count(1)
    page.reload()
    expect(tasks_of(page)).to_have_count(1)
    # EventSource cannot send a header: the cookie is what opens the stream.
    task_id = tasks_of(page).first.get_attribute("data-task-id")
    event = page.evaluate(
        """(id) => new Promise((done, failed) => {
            const source = new EventSource(`/status/${id}`);
            source.onmessage = (event) => { source.close(); done(event.data); };
            source.onerror = failed;
        })""",
        task_id,
    )
    assert json.loads(event)["state"] == "SUCCESS"
    context.close()
    # The browser's own word about an answer that is an error, or about none, is no fault of the page.
    assert [text for text in errors if not text.startswith("Failed to load resource")] == []
