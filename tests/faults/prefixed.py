"""A small app that shares a Redis database with others: all its keys have a prefix."""

import os

from flask import Flask
from werkzeug.wrappers import Response

from flask_longtask import LongTask, accepted
from tests.faults import tasks

_PREFIXED = {"global_keyprefix": os.environ["PREFIX"]}

app = Flask("prefixed")
app.config.from_mapping(
    SECRET_KEY="tests",
    LONGTASK_LEASE_SECONDS=3,
    CELERY={
        "broker_url": os.environ["CELERY_BROKER_URL"],
        "result_backend": os.environ["CELERY_RESULT_BACKEND"],
        "broker_transport_options": _PREFIXED,
        "result_backend_transport_options": _PREFIXED,
    },
)
LongTask(app)
celery = app.extensions["celery"]


@app.post("/start/<name>")
def start(name: str) -> Response:
    return accepted(getattr(tasks, name).delay())
