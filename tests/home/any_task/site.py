"""The web app and its Celery app, with a task class as in Flask's documentation."""

import os
from typing import Any

from celery import Celery, Task, chain, chord, group, signature
from flask import Flask, request
from werkzeug.wrappers import Response

from flask_longtask import LongTask, accepted

app = Flask("any")
app.config["SECRET_KEY"] = "any"


class FlaskTask(Task):  # type: ignore[misc]  # Celery has no types
    """The task class of Flask's documentation."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with app.app_context():
            return self.run(*args, **kwargs)


celery = Celery(
    "any", task_cls=FlaskTask, broker=os.environ["REDIS_URL"], backend=os.environ["REDIS_URL"]
)
celery.conf.task_default_priority = 5
LongTask(app, celery=celery)

from tests.home.any_task import tasks  # noqa: E402  # registers the tasks with the Celery app above


@app.post("/start/<name>")
def start(name: str) -> Response:
    """Start a task. The request has the arguments of `apply_async` as JSON."""
    return accepted(getattr(tasks, name).apply_async(**(request.get_json(silent=True) or {})))


@app.post("/start-many/<kind>")
def start_many(kind: str) -> Response:
    add: Any = tasks.add
    parts = [add.s(number, number) for number in range(3)]
    work = {
        "group": lambda: group(parts),
        "chain": lambda: chain(add.s(1, 1), add.s(1)),
        "chord": lambda: chord(parts, tasks.total.s()),
        "signature": lambda: signature("plain", args=["signed"], app=celery),
    }
    return accepted(work[kind]().apply_async())
