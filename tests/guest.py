"""A user's app with the extension, without any other code of this repository."""

import os

from celery import shared_task
from flask import Flask, request
from werkzeug.wrappers import Response

from flask_longtask import LongTask, WholeBodies, accepted, fields, started_before

app = Flask(__name__)
app.config["CELERY"] = {
    "broker_url": os.environ["REDIS_URL"],
    "result_backend": os.environ["REDIS_URL"],
}
app.config["SECRET_KEY"] = "guest"
longtask = LongTask(app, identify=lambda: request.headers.get("X-User"))


if os.environ.get("WHOLE_BODIES"):
    app.wsgi_app = WholeBodies(app.wsgi_app)  # type: ignore[method-assign]


@shared_task
def work(what: str) -> str:
    return what


@app.post("/start")
@longtask.protect
def start() -> Response:
    return accepted(work.delay(fields().get("what", "")))


@app.post("/start-by-itself")
@longtask.protect
def start_by_itself() -> Response:
    return accepted(work.delay(request.form.get("what", "")))


@app.post("/ask-first")
@longtask.protect
def ask_first() -> Response:
    if earlier := started_before():
        return accepted(earlier)
    return accepted(work.delay(request.form.get("what", "")))
