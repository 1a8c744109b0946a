"""The HTTP contract: what each request is answered, and that nothing anybody stores or sends is a 500."""

import io
import json
import math
import re
import threading
import uuid
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from celery import uuid as new_id
from redis import Redis

from flask_longtask import accepted
from tests import tasks
from tests.processes import PATIENCE, RedisServer, WebServer, Worker, free_port, wait_until

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"
QUICK = {"steps": 1, "delay": 0}
SLOW = {"steps": 60, "delay": 10}
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

#: A queue that no worker serves: what is put there waits.
UNSERVED = "unserved-http"


def submit() -> str:
    """A task that waits for as long as the test needs it to."""
    return str(tasks.noting.apply_async(queue=UNSERVED).id)


def put_celerys(redis: Redis, task_id: str, document: Any) -> str:
    """Store something where Celery keeps its document of a task."""
    redis.set(
        f"celery-task-meta-{task_id}",
        document if isinstance(document, bytes) else json.dumps(document),
    )
    return task_id


def put_ours(redis: Redis, task_id: str, document: Any) -> str:
    """Store something where our record of a task is kept."""
    redis.set(
        f"longtask:task:{task_id}",
        document if isinstance(document, bytes) else json.dumps(document),
    )
    return task_id


def assert_problem(response: Any, status: int, **expected: Any) -> dict[str, Any]:
    """The answer is an error as RFC 9457 has it."""
    assert response.status_code == status, response.text
    assert response.mimetype == "application/problem+json"
    document = dict(response.json)
    assert document["status"] == status
    assert document["title"]
    assert document["detail"]
    assert expected.items() <= document.items()
    return document


@contextmanager
def commands(redis_server: RedisServer) -> Iterator[list[str]]:
    """What Redis is asked in the meantime."""
    asked: list[str] = []
    with Redis(port=redis_server.port) as client, client.monitor() as monitor:
        end = f"end of {uuid.uuid4()}"

        def listen() -> None:
            for command in monitor.listen():
                if end in command["command"]:
                    return
                asked.append(command["command"])

        thread = threading.Thread(target=listen)
        thread.start()
        yield asked
        with Redis(port=redis_server.port) as other:
            other.echo(end)
        thread.join(PATIENCE)
        assert not thread.is_alive()


# -- starting ----------------------------------------------------------------------------------------


def test_a_started_task_is_answered_with_its_address_and_its_status(client: Any) -> None:
    response = client.post("/longtask", json=QUICK)

    task_id = response.json["task_id"]
    assert response.status_code == 202
    assert response.headers["Location"] == f"http://localhost/status/{task_id}"
    assert response.headers["Retry-After"] == "2"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.json["state"] in {"PENDING", "PROGRESS", "SUCCESS"}
    assert response.json["task"] == "long_task"
    assert response.json["submitted"]
    assert uuid.UUID(task_id).version == 4


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"json": {}},
        {"json": QUICK},
        {"json": {"steps": None, "delay": ""}},
        {"data": QUICK},
        {"data": {"steps": "", "delay": ""}},
        {"data": QUICK, "content_type": "multipart/form-data"},
        {"json": {"steps": 1000, "delay": 0}},
        {"json": {"steps": 1, "delay": 60}},
        {"json": {"steps": 1, "delay": 0.0}},
        {"data": {"steps": "1", "delay": "1e-3"}},
    ],
)
def test_a_task_can_be_started_by_a_form_by_json_and_by_nothing(
    client: Any, body: dict[str, Any]
) -> None:
    response = client.post("/longtask", **body)

    assert response.status_code == 202
    client.delete(response.headers["Location"])


@pytest.mark.parametrize("field", ["steps", "delay"])
@pytest.mark.parametrize(
    "value",
    [
        *("x", "-1", "1001", "nan", "inf", "0x10", "1_0", "\uff11"),
        -1,
        1001,
        10**40,
        True,
        [1],
        {"a": 1},
        math.nan,
        math.inf,
    ],
)
@pytest.mark.parametrize("kind", ["json", "data"])
def test_a_bad_value_is_refused_by_the_name_of_its_field(
    client: Any, kind: str, field: str, value: Any
) -> None:
    if kind == "data" and isinstance(value, dict | list):
        value = json.dumps(value)
    response = client.post("/longtask", **{kind: {field: value}})

    document = assert_problem(response, 400, field=field)
    assert field in document["detail"].lower()


@pytest.mark.parametrize("steps", [1.5, 1.0, "1.0"])
def test_a_whole_number_is_written_with_its_digits(client: Any, steps: Any) -> None:
    assert_problem(client.post("/longtask", json={"steps": steps}), 400, field="steps")


@pytest.mark.parametrize(
    "body",
    [b"{", b"", b"[]", b"7", b"null", b"\xff", b"[" * 20_000, b'{"steps": ' + b"1" * 5000 + b"}"],
)
def test_json_that_is_no_object_is_refused(client: Any, body: bytes) -> None:
    assert_problem(client.post("/longtask", data=body, content_type="application/json"), 400)


@pytest.mark.parametrize(
    "media_type", ["text/plain", "application/xml", "application/octet-stream", ""]
)
def test_a_body_of_another_kind_is_refused(client: Any, media_type: str) -> None:
    response = client.post("/longtask", data=b"steps=1", content_type=media_type)

    assert_problem(response, 415)


@pytest.mark.parametrize("content_type", ["application/json", "application/x-www-form-urlencoded"])
def test_a_body_that_is_too_large_is_refused(app: Any, client: Any, content_type: str) -> None:
    body = b"x" * (app.config["MAX_CONTENT_LENGTH"] + 1)

    answer = client.post("/longtask", data=body, content_type=content_type)

    assert "at most 65,536 bytes" in assert_problem(answer, 413)["detail"]


def test_the_limit_that_is_told_is_the_one_of_the_address(app: Any, client: Any) -> None:
    limit = app.config["DOUBLE_MAX_DIGITS"] + 1024
    answer = client.post("/double", json={"number": "1" * limit})

    assert f"at most {limit:,} bytes" in assert_problem(answer, 413)["detail"]


MULTIPART = "multipart/form-data; boundary=x"
PART = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n'


def in_chunks(body: bytes) -> dict[str, Any]:
    """As gunicorn hands a body on whose length it was not told."""
    environ = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}
    return {"input_stream": io.BytesIO(body), "environ_overrides": environ}


@pytest.mark.parametrize("path", ["/longtask", "/imports"])
@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_form_of_too_many_parts_is_told_so(client: Any, path: str, is_chunked: bool) -> None:
    body = PART * 1001 + b"--x--"
    sent = in_chunks(body) if is_chunked else {"data": body}
    answer = client.post(path, content_type=MULTIPART, **sent)

    detail = assert_problem(answer, 413)["detail"]
    assert "at most 1,000 fields" in detail
    assert "MB" not in detail


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_form_of_too_many_bytes_is_not_told_of_its_fields(client: Any, is_chunked: bool) -> None:
    body = PART * 900 + b"x" * 65_536
    sent = in_chunks(body) if is_chunked else {"data": body}

    detail = assert_problem(client.post("/longtask", content_type=MULTIPART, **sent), 413)["detail"]
    assert "at most 65,536 bytes" in detail
    assert "fields" not in detail


def test_a_broken_upload_is_no_error_of_the_server(client: Any) -> None:
    for media_type in ("multipart/form-data", MULTIPART):
        for sent in ({"data": b"--x\r\nnonsense"}, in_chunks(b"--x\r\nnonsense")):
            assert_problem(client.post("/longtask", content_type=media_type, **sent), 400)


@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize(
    "name", ["umläut.csv".encode("latin-1"), b"\xff\xfe", "表.csv".encode("gbk")]
)
def test_a_file_whose_name_cannot_be_read_is_not_told_to_be_missing(
    client: Any, name: bytes, is_chunked: bool
) -> None:
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="%b"\r\n\r\n' % name
    body = head + b"a,b\r\n1,2\r\n--x--\r\n"
    sent = in_chunks(body) if is_chunked else {"data": body}

    detail = assert_problem(client.post("/imports", content_type=MULTIPART, **sent), 400)["detail"]
    assert "UTF-8" in detail
    assert "missing" not in detail


def test_an_upload_of_nothing_is_a_form_without_fields(client: Any) -> None:
    media_type = "multipart/form-data; boundary=x"
    for body in (b"", b"--x--", b"--x--\r\n", b"\r\n--x--\r\n"):
        response = client.post("/longtask", data=body, content_type=media_type)
        assert response.status_code == 202
        client.delete(response.headers["Location"])


# -- one task ----------------------------------------------------------------------------------------


def test_a_submitted_task_waits_and_says_when_to_ask_again(client: Any) -> None:
    response = client.get(f"/status/{submit()}")

    assert (response.status_code, response.mimetype) == (200, "application/json")
    assert (response.json["state"], response.json["percent"]) == ("PENDING", 0)
    assert response.headers["Retry-After"] == "2"
    assert response.headers["Cache-Control"] == "no-store"
    assert "Accept" in response.headers["Vary"]


def test_an_ended_task_says_nothing_about_asking_again(client: Any, redis: Redis) -> None:
    ended = put_celerys(
        redis,
        new_id(),
        {"status": "SUCCESS", "result": 1, "date_done": "2026-03-01T12:00:00+00:00"},
    )
    without_a_date = put_celerys(redis, new_id(), {"status": "FAILURE", "result": None})

    for task_id in (ended, without_a_date):
        response = client.get(f"/status/{task_id}")
        assert response.status_code == 200
        assert "Retry-After" not in response.headers


@pytest.mark.parametrize(
    "task_id",
    ["order-4711", "ORDER 4711", "a/b", "Zoë #7?", "workers", "100%", "x" * 255, "0", "longtask:1"],
)
def test_whatever_text_an_app_takes_for_an_id_its_address_leads_to_the_task(
    app: Any, client: Any, redis: Redis, task_id: str
) -> None:
    task_id = f"{task_id}{uuid.uuid4().hex[:4]}"[-255:]
    with app.test_request_context():
        started = accepted(tasks.noting.apply_async(task_id=task_id, queue=UNSERVED))
    assert (started.status_code, started.json["task_id"]) == (202, task_id)

    address = started.headers["Location"].removeprefix("http://localhost")
    assert client.get(address).json["task_id"] == task_id
    assert client.get("/status", query_string={"id": task_id}).json["tasks"][task_id]
    assert client.delete(address).json["state"] == "REVOKED"
    assert client.get(address.upper()).status_code == 404


@pytest.mark.parametrize("method", ["get", "delete", "post"])
def test_an_unknown_task_is_not_found_and_the_answer_says_both_reasons(
    client: Any, method: str
) -> None:
    document = assert_problem(getattr(client, method)(f"/status/{uuid.uuid4()}"), 404)

    assert "never started" in document["detail"]
    assert "deleted" in document["detail"]


@pytest.mark.parametrize("method", ["get", "delete", "post"])
def test_what_is_too_long_for_an_id_is_not_found_without_asking_redis(
    client: Any, redis_server: RedisServer, method: str
) -> None:
    not_an_id = "x" * 256
    with commands(redis_server) as asked:
        response = getattr(client, method)(f"/status/{not_an_id}")

    assert_problem(response, 404)
    assert [command for command in asked if not_an_id in command] == []


@pytest.mark.parametrize("odd", ["%00", "..%2f", "*", "longtask:workers", "%0a", "\u0665"])
@pytest.mark.parametrize("method", ["get", "delete", "post"])
def test_an_odd_id_is_just_unknown(client: Any, method: str, odd: str) -> None:
    assert_problem(getattr(client, method)(f"/status/{odd}"), 404)


def test_one_poll_is_one_question_to_redis_and_one_more_about_the_place_in_the_queue(
    client: Any, redis_server: RedisServer
) -> None:
    task_id = submit()

    with commands(redis_server) as asked:
        client.get(f"/status/{task_id}")
        client.delete(f"/status/{task_id}")
        client.get(f"/status/{task_id}")

    questions = [command.split()[0] for command in asked if task_id in command]
    assert questions.count("MGET") == 4  # two polls; before and after cancelling
    assert questions.count("ZRANK") == 2  # as long as it waits


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("get", "/longtask", {"POST", "OPTIONS"}),
        ("delete", "/longtask", {"POST", "OPTIONS"}),
        (
            "put",
            "/status/5f0c1c1e-3f0b-4f6b-9b39-4f0f6a1b6f10",
            {"GET", "HEAD", "POST", "DELETE", "OPTIONS"},
        ),
        ("post", "/status", {"GET", "HEAD", "OPTIONS"}),
        ("put", "/tasks", {"GET", "HEAD", "POST", "OPTIONS"}),
        ("post", "/health", {"GET", "HEAD", "OPTIONS"}),
        ("post", "/", {"GET", "HEAD", "OPTIONS"}),
    ],
)
def test_a_method_that_an_address_does_not_have_is_refused_with_those_it_has(
    client: Any, method: str, path: str, allowed: set[str]
) -> None:
    response = getattr(client, method)(path)

    assert_problem(response, 405)
    assert set(response.headers["Allow"].split(", ")) == allowed


def test_an_address_that_is_not_there_is_a_problem_document_too(client: Any) -> None:
    assert_problem(client.get("/nowhere"), 404)


# -- cancelling --------------------------------------------------------------------------------------


def test_a_cancelled_task_is_answered_as_cancelled_and_stays_so(client: Any) -> None:
    task_id = submit()

    response = client.delete(f"/status/{task_id}")

    assert (response.status_code, response.json["state"], response.json["status"]) == (
        200,
        "REVOKED",
        "Cancelled",
    )
    assert response.json["finished"]
    assert "Retry-After" not in response.headers
    assert client.get(f"/status/{task_id}").json == response.json


@pytest.mark.parametrize("state", ["SUCCESS", "FAILURE", "REVOKED"])
def test_a_task_that_has_ended_cannot_be_cancelled(client: Any, redis: Redis, state: str) -> None:
    task_id = put_celerys(
        redis, new_id(), {"status": state, "result": None, "date_done": "2026-03-01T12:00:00"}
    )

    assert_problem(client.delete(f"/status/{task_id}"), 409)
    assert client.get(f"/status/{task_id}").json["state"] == state


def test_a_task_cannot_be_cancelled_twice(client: Any) -> None:
    task_id = submit()
    client.delete(f"/status/{task_id}")

    assert_problem(client.delete(f"/status/{task_id}"), 409)


def test_a_form_cancels_a_task_and_leads_back_to_its_page(client: Any) -> None:
    task_id = submit()
    headers = {"Accept": BROWSER, "Origin": "http://localhost"}

    page = client.get(f"/status/{task_id}", headers=headers).text
    assert f'<form class="longtask-buttons" action="/status/{task_id}" method="post">' in page
    assert 'href="/"' in page
    answer = client.post(f"/status/{task_id}", headers=headers)

    assert (answer.status_code, answer.headers["Location"]) == (303, f"/status/{task_id}")
    assert client.get(f"/status/{task_id}").json["state"] == "REVOKED"
    assert "<form" not in client.get(f"/status/{task_id}", headers=headers).text
    # Who presses the button of a page that is out of date is shown how the task ended.
    assert client.post(f"/status/{task_id}", headers=headers).status_code == 303


def test_cancelling_is_not_counted_as_a_start(
    app: Any, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(app.config, "LONGTASK_RATE_LIMIT", "1 per minute")
    address = {"REMOTE_ADDR": "192.0.2.77"}
    for _ in range(3):
        answer = client.post(f"/status/{submit()}", environ_base=address)
        assert answer.status_code == 303


def test_a_task_that_another_program_published_can_be_cancelled(client: Any, redis: Redis) -> None:
    task_id = put_celerys(
        redis, new_id(), {"status": "PROGRESS", "result": {"current": 1, "total": 2}}
    )

    assert client.delete(f"/status/{task_id}").json["state"] == "REVOKED"
    assert client.get(f"/status/{task_id}").json["state"] == "REVOKED"


# -- many tasks --------------------------------------------------------------------------------------


def test_many_tasks_are_told_at_once_and_null_is_told_of_what_does_not_exist(
    client: Any, redis_server: RedisServer
) -> None:
    known, unknown = submit(), str(uuid.uuid4())

    with commands(redis_server) as asked:
        response = client.get(f"/status?id={known}&id={unknown}")

    assert response.status_code == 200
    assert set(response.json["tasks"]) == {known, unknown}
    assert response.json["tasks"][known]["state"] == "PENDING"
    assert response.json["tasks"][unknown] is None
    assert response.headers["Cache-Control"] == "no-store"
    questions = [command for command in asked if known in command or unknown in command]
    assert [question.split()[0] for question in questions] == ["MGET", "ZRANK"]


def test_a_hundred_tasks_are_answered_and_one_more_is_refused(client: Any) -> None:
    def ask(number: int) -> Any:
        return client.get("/status?" + "&".join(f"id={uuid.uuid4()}" for _ in range(number)))

    assert len(ask(100).json["tasks"]) == 100
    assert_problem(ask(101), 400, field="id")


@pytest.mark.parametrize(
    "query",
    ["", "?", "?id=", f"?id={'x' * 256}", "?ids=5f0c1c1e-3f0b-4f6b-9b39-4f0f6a1b6f10"],
)
def test_a_question_about_many_without_an_id_is_refused(client: Any, query: str) -> None:
    assert_problem(client.get(f"/status{query}"), 400, field="id")


def test_one_bad_id_among_good_ones_is_refused(client: Any) -> None:
    assert_problem(client.get(f"/status?id={submit()}&id="), 400, field="id")


# -- what the client wants to read -------------------------------------------------------------------


@pytest.mark.parametrize(
    "accept",
    [
        None,
        "*/*",
        "application/json",
        "text/html;q=0.5, application/json",
        "image/png",
        "application/*",
        "x",
    ],
)
def test_json_is_what_everybody_gets_who_does_not_ask_for_a_page(
    client: Any, accept: str | None
) -> None:
    headers = {"Accept": accept} if accept else {}

    assert client.get(f"/status/{submit()}", headers=headers).mimetype == "application/json"
    assert client.post("/longtask", json=QUICK, headers=headers).status_code == 202


def test_a_browser_that_opens_the_address_of_a_task_gets_a_page_with_its_bar(client: Any) -> None:
    task_id = submit()

    response = client.get(f"/status/{task_id}", headers={"Accept": BROWSER})

    assert (response.status_code, response.mimetype) == (200, "text/html")
    assert task_id in response.text
    assert "<progress" in response.text
    assert 'http-equiv="refresh"' in response.text
    assert response.headers["Cache-Control"] == "no-store"
    assert "Accept" in response.headers["Vary"]


def test_the_page_of_a_task_that_waits_for_a_time_says_until_when(client: Any) -> None:
    task = tasks.noting.apply_async(countdown=3600)

    page = client.get(f"/status/{task.id}", headers={"Accept": BROWSER}).text

    assert '<strong class="longtask-word">Scheduled</strong>' in page
    assert re.search(r'<span class="longtask-message">for \d{4}-', page)
    assert f'aria-label="Noting {task.id[:8]}">0%' in page
    client.delete(f"/status/{task.id}")


def test_the_page_of_a_task_that_has_ended_refreshes_itself_no_more(client: Any) -> None:
    task_id = submit()
    client.delete(f"/status/{task_id}")

    response = client.get(f"/status/{task_id}", headers={"Accept": BROWSER})

    assert "Cancelled" in response.text
    assert 'http-equiv="refresh"' not in response.text


def test_a_plain_form_post_is_sent_to_the_page_of_its_task(client: Any) -> None:
    response = client.post("/longtask", data=QUICK, headers={"Accept": BROWSER})

    assert response.status_code == 303
    assert client.get(response.headers["Location"], headers={"Accept": BROWSER}).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("get", "/status/00000000-0000-4000-8000-000000000000", 404),
        ("get", "/nowhere", 404),
        ("get", "/longtask", 405),
        ("post", "/longtask", 400),
    ],
)
def test_a_browser_gets_its_errors_as_pages(
    client: Any, method: str, path: str, status: int
) -> None:
    response = getattr(client, method)(path, data={"steps": "x"}, headers={"Accept": BROWSER})

    assert (response.status_code, response.mimetype) == (status, "text/html")
    assert "<h1>" in response.text
    assert "Accept" in response.headers["Vary"]


def test_what_a_task_says_is_text_on_its_page_and_never_markup(client: Any, redis: Redis) -> None:
    attack = "<script>alert(1)</script>'\"><img src=x>"
    document = {"status": "PROGRESS", "result": {"current": 1, "total": 2, "status": attack}}
    task_id = put_celerys(
        redis, put_ours(redis, new_id(), {"task": attack, "submitted": attack}), document
    )

    page = client.get(f"/status/{task_id}", headers={"Accept": BROWSER}).text

    assert "<script>alert" not in page
    assert "<img" not in page


# -- what this browser has started -------------------------------------------------------------------


def test_a_browser_is_told_what_it_has_started_newest_first_and_nothing_of_others(app: Any) -> None:
    mine, others, nobodys = app.test_client(), app.test_client(), app.test_client()

    first, second = [mine.post("/longtask", json=QUICK).json["task_id"] for _ in range(2)]
    third = others.post("/longtask", json=QUICK).json["task_id"]

    assert [task["task_id"] for task in mine.get("/tasks").json["tasks"]] == [second, first]
    assert [task["task_id"] for task in others.get("/tasks").json["tasks"]] == [third]
    assert nobodys.get("/tasks").json == {"tasks": []}


def test_a_browser_without_javascript_gets_them_as_a_page(app: Any) -> None:
    mine, nobodys = app.test_client(), app.test_client()
    first, second = [mine.post("/longtask", json=SLOW).json["task_id"] for _ in range(2)]
    assert 'href="/tasks"' in mine.get("/").text

    answer = mine.get("/tasks", headers={"Accept": BROWSER})

    assert (answer.status_code, answer.mimetype) == (200, "text/html")
    assert re.findall(r'data-task-id="([^"]*)"', answer.text) == [second, first]
    assert 'http-equiv="refresh"' in answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Accept" in answer.headers["Vary"]
    nothing = nobodys.get("/tasks", headers={"Accept": BROWSER}).text
    assert "Nothing here yet" in nothing
    assert 'http-equiv="refresh"' not in nothing
    for task_id in (first, second):
        mine.delete(f"/status/{task_id}")
    assert 'http-equiv="refresh"' not in mine.get("/tasks", headers={"Accept": BROWSER}).text


def test_a_browser_whose_first_starts_come_at_the_same_moment_finds_them_all(app: Any) -> None:
    # Given a browser that has the page open, as a start from a page always has
    browser = app.test_client()
    browser.get("/")
    cookie = browser.get_cookie("session").value
    started = []

    def start() -> None:
        with app.test_client() as tab:
            tab.set_cookie("session", cookie)
            started.append(tab.post("/longtask", json=QUICK).json["task_id"])

    tabs = [threading.Thread(target=start) for _ in range(5)]
    for tab in tabs:
        tab.start()
    for tab in tabs:
        tab.join()

    assert {task["task_id"] for task in browser.get("/tasks").json["tasks"]} == set(started)
    assert len(started) == 5


def test_what_has_expired_is_not_listed(client: Any, redis: Redis, worker: Worker) -> None:
    kept, expired = [client.post("/longtask", json=QUICK).json["task_id"] for _ in range(2)]
    wait_until(lambda: client.get(f"/status/{expired}").json["finished"])

    redis.delete(f"celery-task-meta-{expired}", f"longtask:task:{expired}")

    assert [task["task_id"] for task in client.get("/tasks").json["tasks"]] == [kept]


def test_a_forged_cookie_lists_nothing(client: Any) -> None:
    client.set_cookie("session", "eyJsb25ndGFzayI6IngifQ.aaaa.bbbb")

    assert client.get("/tasks").json == {"tasks": []}


# -- other sites -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},
        {"Origin": "https://localhost"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"},
    ],
)
def test_another_sites_page_can_start_and_cancel_nothing(
    client: Any, headers: dict[str, str]
) -> None:
    task_id = submit()

    assert_problem(client.post("/longtask", json=QUICK, headers=headers), 403)
    assert_problem(client.delete(f"/status/{task_id}", headers=headers), 403)
    assert_problem(client.post(f"/status/{task_id}", headers=headers), 403)

    assert client.get(f"/status/{task_id}", headers=headers).json["state"] == "PENDING"
    assert client.get("/tasks").json == {"tasks": []}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://localhost"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://behind.a.proxy"},
    ],
)
def test_our_own_page_and_a_program_without_a_token_can(
    client: Any, headers: dict[str, str]
) -> None:
    assert client.post("/longtask", json=QUICK, headers=headers).status_code == 202
    assert client.delete(f"/status/{submit()}", headers=headers).status_code == 200


# -- nothing stored is a 500 -------------------------------------------------------------------------


def kombus(kind: str, value: Any) -> dict[str, Any]:
    return {"__type__": kind, "__value__": value}


def success(result: Any) -> bytes:
    return json.dumps({"status": "SUCCESS", "result": result}).encode()


def nested(depth: int, kind: str = "[]") -> bytes:
    opening = b"[" if kind == "[]" else b'{"a":'
    closing = b"]" if kind == "[]" else b"}"
    return opening * depth + (b"" if kind == "[]" else b"1") + closing * depth


GARBAGE = {
    "nothing": b" ",
    "no JSON": b"garbage",
    "half a document": b'{"status": "SUCC',
    "binary": b"\x80\x04\x95\x00\xff",
    "broken UTF-8": b'{"status": "\xff\xfe"}',
    "half a character": b'{"status": "PROGRESS", "result": {"status": "\\ud800", "current": 1}}',
    "half a character as state": b'{"status": "\\ud800", "result": null}',
    "a list": b"[1, 2]",
    "a number": b"7",
    "null": b"null",
    "an empty object": b"{}",
    "a state that is no text": b'{"status": {"a": [1]}, "result": 7}',
    "a state of nothing": b'{"status": null, "result": null}',
    "an empty state": b'{"status": "", "result": null}',
    "a very long state": json.dumps({"status": "X" * 100_000}).encode(),
    "progress of NaN": b'{"status": "PROGRESS", "result": {"current": NaN, "total": Infinity}}',
    "progress beyond floats": b'{"status": "PROGRESS", "result": {"current": 1.5, "total": '
    + b"9" * 400
    + b"}}",
    "a number of too many digits": b'{"status": "PROGRESS", "result": {"current": '
    + b"9" * 5000
    + b"}}",
    "a result of NaN": b'{"status": "SUCCESS", "result": {"result": [NaN, -Infinity]}}',
    "a compressed document": zlib.compress(success(1)),
    "a compressed text": json.dumps(
        {"compressed": b64encode(zlib.compress(success(1))).decode()}
    ).encode(),
    "a time of kombu's": success(kombus("datetime", "2026-03-01T12:00:00+00:00")),
    "a broken time of kombu's": success(kombus("datetime", "yesterday")),
    "a decimal of kombu's": success({"result": kombus("decimal", "1.10")}),
    "a UUID of kombu's": success([kombus("uuid", {"hex": "5f0c1c1e3f0b4f6b9b394f0f6a1b6f10"})]),
    "bytes of kombu's": success({"result": kombus("bytes", "aGVsbG8=")}),
    "bytes of kombu's that are no text": success({"result": kombus("base64", "/w==")}),
    "a type kombu does not know": success(kombus("spaceship", "x")),
    "an end of kombu's": json.dumps(
        {
            "status": "SUCCESS",
            "result": 1,
            "date_done": kombus("datetime", "2026-03-01T12:00:00+00:00"),
        }
    ).encode(),
    "an end that is no time": b'{"status": "SUCCESS", "result": 1, "date_done": "now"}',
    "an end before time began": b'{"status": "SUCCESS", "result": 1, "date_done": "0001-01-01T00:00:00+14:00"}',
    "a failure of nothing": b'{"status": "FAILURE", "result": null}',
    "a failure without a class": b'{"status": "FAILURE", "result": {"exc_message": ["no"]}}',
    "a failure stored as progress": b'{"status": "FAILURE", "result": {"current": 1, "total": 2}}',
    "a failure of a class that is not here": (
        b'{"status": "FAILURE", "result": {"exc_type": "Gone", "exc_message": [1], "exc_module": "no.such"}}'
    ),
    "a failure of a function": (
        b'{"status": "FAILURE", "result": {"exc_type": "exit", "exc_message": [3], "exc_module": "builtins"}}'
    ),
    "a retry of nothing": b'{"status": "RETRY", "result": null}',
    "a cancellation of nothing": b'{"status": "REVOKED", "result": null}',
    **{
        f"a {where} {depth} deep": content % {b"nested": nested(depth)}
        for depth in (60, 200, 500, 900, 960, 5000)
        for where, content in {
            "result": b'{"status": "SUCCESS", "result": {"result": %(nested)b}}',
            "state": b'{"status": %(nested)b}',
            "progress": b'{"status": "PROGRESS", "result": {"current": %(nested)b, "status": %(nested)b}}',
            "error": b'{"status": "FAILURE", "result": {"exc_type": "E", "exc_message": [%(nested)b, 1]}}',
            "document": b"%(nested)b",
        }.items()
    },
}

RECORDS = {
    "nothing": b" ",
    "no JSON": b"garbage",
    "broken UTF-8": b'{"task": "\xff\xfe"}',
    "a list": b"[]",
    "null": b"null",
    "half a character": b'{"task": "\\ud800", "submitted": "\\udfff"}',
    "an attempt that is no number": b'{"attempt": "second"}',
    "an attempt of nothing": b'{"attempt": null}',
    "an attempt of many": b'{"attempt": [1, 2]}',
    "times that are no times": b'{"submitted": 7, "started": {}, "eta": [], "ended": true}',
    "a time before time began": b'{"eta": "9999-12-31T23:59:59-14:00", "started": "0001-01-01T00:00:00+14:00"}',
    "a name that is none": b'{"task": ["x"], "queue": 7, "number": 7}',
    "a queue that is none": b'{"task": "x", "queue": ["celery"], "number": "x", "worker": [1], "running": [1]}',
    "progress that is none": b'{"progress": {"current": 1}, "cancelled": 7, "retries": "x"}',
    "a name of only dots": b'{"task": "..."}',
    **{f"a record {depth} deep": nested(depth, "{}") for depth in (200, 900, 960, 5000)},
    **{
        f"a time {depth} deep": b'{"eta": ' + nested(depth) + b"}"
        for depth in (200, 900, 960, 5000)
    },
}


def asked_in_every_way(app: Any, task_id: str) -> Iterator[tuple[str, Any]]:
    client = app.test_client()
    yield "as JSON", client.get(f"/status/{task_id}")
    yield "as a page", client.get(f"/status/{task_id}", headers={"Accept": BROWSER})
    yield "with others", client.get(f"/status?id={task_id}&id={uuid.uuid4()}")
    yield "to be cancelled", client.delete(f"/status/{task_id}")
    yield "after that", client.get(f"/status/{task_id}")


def assert_answered(app: Any, task_id: str) -> None:
    answers = {way: answer.status_code for way, answer in asked_in_every_way(app, task_id)}
    assert (
        answers["as JSON"]
        == answers["as a page"]
        == answers["with others"]
        == answers["after that"]
        == 200
    ), answers
    assert answers["to be cancelled"] in (200, 409), answers


@pytest.mark.parametrize("document", GARBAGE.values(), ids=GARBAGE.keys())
def test_whatever_lies_under_celerys_key_the_task_is_told_about(
    app: Any, redis: Redis, document: bytes
) -> None:
    assert_answered(app, put_celerys(redis, new_id(), document))


@pytest.mark.parametrize("document", RECORDS.values(), ids=RECORDS.keys())
def test_whatever_lies_under_our_key_the_task_is_told_about(
    app: Any, redis: Redis, document: bytes
) -> None:
    task_id = put_celerys(
        redis, new_id(), {"status": "PROGRESS", "result": {"current": 1, "total": 2}}
    )

    assert_answered(app, put_ours(redis, task_id, document))


@pytest.mark.parametrize("document", RECORDS.values(), ids=RECORDS.keys())
def test_whatever_lies_under_our_key_alone_the_task_is_told_about(
    app: Any, redis: Redis, document: bytes
) -> None:
    assert_answered(app, put_ours(redis, new_id(), document))


@pytest.mark.parametrize("document", GARBAGE.values(), ids=GARBAGE.keys())
def test_whatever_is_stored_is_answered_with_json_that_browsers_read(
    client: Any, redis: Redis, document: bytes
) -> None:
    text = client.get(f"/status/{put_celerys(redis, new_id(), document)}").text

    task = json.loads(text, parse_constant=pytest.fail)
    assert 0 <= task["current"] <= task["total"]


@pytest.mark.parametrize("name", ["a result of NaN", "bytes of kombu's", "a decimal of kombu's"])
def test_the_page_of_a_task_carries_json_that_its_script_can_read(
    client: Any, redis: Redis, name: str
) -> None:
    task_id = put_celerys(redis, new_id(), GARBAGE[name])

    page = client.get(f"/status/{task_id}", headers={"Accept": BROWSER}).text

    carried = page.partition("data-longtask-task='")[2].partition("'")[0]
    assert json.loads(carried, parse_constant=pytest.fail)["state"] == "SUCCESS"


def test_however_deep_a_result_is_its_page_can_be_drawn(client: Any, redis: Redis) -> None:
    task_id = new_id()
    for depth in range(800, 1000, 5):  # between what is cut off and what cannot even be read
        put_celerys(redis, task_id, success({"result": "X"}).replace(b'"X"', nested(depth)))

        assert client.get(f"/status/{task_id}", headers={"Accept": BROWSER}).status_code == 200, (
            depth
        )


# -- when something is away --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def outage(folder: Path) -> Iterator[tuple[RedisServer, WebServer]]:
    """A web server and the Redis it talks to, of which the tests rob it."""
    redis_server = RedisServer("redis-to-fail", folder)
    web = WebServer("web-without-redis", folder, redis_server.url())
    yield redis_server, web
    web.stop()
    redis_server.stop()


Ask = Callable[[str], requests.Response]

REQUESTS: dict[str, Ask] = {
    "a start": lambda url: requests.post(f"{url}/longtask", json=QUICK, timeout=PATIENCE),
    "a status": lambda url: requests.get(f"{url}/status/{uuid.uuid4()}", timeout=PATIENCE),
    "many": lambda url: requests.get(f"{url}/status?id={uuid.uuid4()}", timeout=PATIENCE),
    "a cancellation": lambda url: requests.delete(f"{url}/status/{uuid.uuid4()}", timeout=PATIENCE),
}


@pytest.mark.parametrize("how", ["is stopped", "hangs"])
def test_while_redis_is_away_the_answer_is_503_at_once_and_then_all_is_well_again(
    outage: tuple[RedisServer, WebServer], how: str
) -> None:
    redis_server, web = outage
    wait_until(redis_server.answers)
    with requests.Session() as browser:
        # Given a browser that has started something
        browser.post(f"{web.url}/longtask", json=QUICK, timeout=PATIENCE).raise_for_status()
        asks = {**REQUESTS, "a list": lambda url: browser.get(f"{url}/tasks", timeout=PATIENCE)}

        # When Redis goes away
        redis_server.stop() if how == "is stopped" else redis_server.pause()
        try:
            for name, ask in asks.items():
                response = ask(web.url)

                # Then every request is told so
                assert response.status_code == 503, name
                assert response.headers["Content-Type"] == "application/problem+json", name
                assert int(response.headers["Retry-After"]) > 0, name
                assert response.json()["status"] == 503, name
                assert "Traceback" not in response.text
                assert str(redis_server.port) not in response.text

            health = requests.get(f"{web.url}/health", timeout=PATIENCE)
            assert (health.status_code, health.json()["redis"]) == (503, "down")
            assert requests.get(f"{web.url}/", timeout=PATIENCE).status_code == 200
        finally:
            redis_server.start() if how == "is stopped" else redis_server.resume()

        # And once it is back the very next request is answered
        wait_until(redis_server.answers)
        assert browser.post(f"{web.url}/longtask", json=QUICK, timeout=PATIENCE).status_code == 202
        assert requests.get(f"{web.url}/health", timeout=PATIENCE).json()["redis"] == "up"
    assert "Traceback" not in web.log.read_text()


def test_a_task_that_could_not_be_published_is_never_run(
    folder: Path, redis_server: RedisServer
) -> None:
    # Given a broker that is away, and a Redis for what is known about tasks that is there
    ours = redis_server.url(database=2)
    broker = f"redis://127.0.0.1:{free_port()}/0"
    web = WebServer("web-without-broker", folder, ours, CELERY_BROKER_URL=broker)
    try:
        with Redis.from_url(ours) as stored:
            response = requests.post(f"{web.url}/longtask", json=QUICK, timeout=PATIENCE)

            # Then the client is told to come again, and a tombstone keeps the task from being run, should its
            # message be out after all
            assert (response.status_code, response.headers["Content-Type"]) == (
                503,
                "application/problem+json",
            )
            assert response.headers["Retry-After"]
            (key,) = stored.keys("longtask:task:*")
            task_id = key.decode().removeprefix("longtask:task:")
            assert stored.ttl(key) > 0
            assert stored.zcard("longtask:sending") == 0
            task = requests.get(f"{web.url}/status/{task_id}", timeout=PATIENCE).json()
            assert (task["state"], task["status"]) == ("FAILURE", "It could not be queued")
    finally:
        web.stop()
