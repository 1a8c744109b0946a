"""Errors of LongTask's own and of protected routes are problem documents, whatever handlers the app has."""

from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from celery import shared_task
from flask import Flask
from werkzeug.exceptions import default_exceptions
from werkzeug.test import TestResponse
from werkzeug.wrappers import Response

from flask_longtask import LongTask, accepted, fields, protect
from tests.home.conftest import close

Guest = Callable[..., Flask]

TOKEN = "a-token-of-some-length-4711"


@shared_task(name="home.stand")
def stand() -> None: ...


def add_start(app: Flask) -> None:
    @app.post("/start")
    def start() -> Response:
        return accepted(stand.delay())


def add_handlers(app: Flask) -> None:
    """For every code one that makes it a page, as that of an app whose script draws all pages."""
    for code in default_exceptions:
        app.register_error_handler(code, lambda error: ("the app's own page", 200))


def told(answer: TestResponse) -> tuple[int, str]:
    return answer.status_code, answer.mimetype


def problem(status: int) -> tuple[int, str]:
    return status, "application/problem+json"


@pytest.mark.parametrize("is_first", [True, False], ids=["handlers first", "handlers last"])
def test_the_apps_handlers_of_codes_leave_our_routes_alone(database: str, is_first: bool) -> None:
    app = Flask("own")
    app.config["CELERY"] = {"broker_url": database, "result_backend": database}
    allowed = {"read", "cancel"}
    longtask = LongTask(authorize=lambda task, action: action in allowed)
    if is_first:
        add_handlers(app)
    celery = longtask.init_app(app)
    if not is_first:
        add_handlers(app)
    add_start(app)
    client = app.test_client()
    address = client.post("/start").headers["Location"]

    assert told(client.get("/status/none")) == problem(404)
    stream = client.get("/status/none", headers={"Accept": "text/event-stream"})
    assert told(stream) == problem(404)
    assert told(client.get("/status")) == problem(400)
    assert client.delete(address).json["state"] == "REVOKED"
    assert told(client.delete(address)) == problem(409)
    allowed.clear()
    assert told(client.get(address)) == problem(403)
    # And the app's own routes have them still
    assert client.get("/nowhere").text == "the app's own page"
    close(celery)


def test_nor_do_they_answer_for_the_token(database: str) -> None:
    app = Flask("token")
    app.config.update(
        CELERY={"broker_url": database, "result_backend": database},
        SECRET_KEY="tests",
        LONGTASK_API_TOKEN=TOKEN,
    )
    celery = LongTask().init_app(app)
    add_handlers(app)
    client = app.test_client()

    assert told(client.get("/openapi.json")) == problem(401)
    assert told(client.post("/session", data={"token": "wrong"})) == problem(401)
    assert told(client.post("/session", data="x", content_type="text/plain")) == problem(415)
    close(celery)


#: Bodies that cannot be used, and what they are refused with.
BODIES: dict[str, tuple[dict[str, Any], int]] = {
    "text": ({"data": "x", "content_type": "text/plain"}, 415),
    "too large": ({"data": {"what": "x" * 100}}, 413),
    "too large a file": ({"data": {"what": (BytesIO(b"x" * 100), "file")}}, 413),
}


@pytest.mark.parametrize(("body", "status"), BODIES.values(), ids=BODIES)
def test_a_body_that_cannot_be_used_is_refused_by_a_problem_document(
    guest: Guest, body: dict[str, Any], status: int
) -> None:
    app = guest()
    app.config["MAX_CONTENT_LENGTH"] = 50

    @app.post("/start")
    @protect
    def start() -> Response:
        return accepted(stand.delay(fields().get("what")))

    answer = app.test_client().post("/start", **body)

    assert told(answer) == problem(status)
    assert answer.json["detail"]
