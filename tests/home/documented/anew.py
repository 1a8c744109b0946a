"""The same app rewritten for LongTask, without a task class and a route to poll."""

import os
from typing import Any

from celery import Task, shared_task
from flask import Flask, current_app
from werkzeug.wrappers import Response

from flask_longtask import LongTask, accepted, integer

longtask = LongTask()


@shared_task(name="add_together")
def add_together(a: int, b: int) -> int:
    return a + b


@shared_task(bind=True, name="process")
def process(self: Task, total: int) -> str:
    for _ in self.track(range(total), "Processing"):
        pass
    return f"{total} in {current_app.name}"


def create_app(**config: Any) -> Flask:
    app = Flask("anew")
    app.config.from_mapping(
        SECRET_KEY="anew",
        CELERY={
            "broker_url": os.environ["REDIS_URL"],
            "result_backend": os.environ["REDIS_URL"],
        },
        **config,
    )
    longtask.init_app(app)

    @app.post("/add")
    @longtask.protect
    def start_add() -> Response:
        bounds = {"minimum": -1000, "maximum": 1000}
        return accepted(add_together.delay(integer("a", **bounds), integer("b", **bounds)))

    @app.post("/process")
    @longtask.protect
    def start_process() -> Response:
        return accepted(process.delay(total=integer("total", minimum=1, maximum=1000)))

    return app


flask_app = create_app()
celery_app = flask_app.extensions["celery"]
