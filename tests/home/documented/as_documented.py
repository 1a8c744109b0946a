"""The documented pattern, rewritten: init_app creates a Celery app, tasks run in Flask's context, a client polls.

This module does not use LongTask; beside.py adds it.
"""

import os
from typing import Any

from celery import Celery, Task, shared_task
from celery.result import AsyncResult
from flask import Blueprint, Flask, current_app, request


def celery_init_app(app: Flask) -> Celery:
    class FlaskTask(Task):  # type: ignore[misc]  # Celery has no types
        def __call__(self, *args: object, **kwargs: object) -> object:
            with app.app_context():
                return self.run(*args, **kwargs)

    celery_app = Celery(app.name, task_cls=FlaskTask)
    celery_app.config_from_object(app.config["CELERY"])
    celery_app.set_default()
    app.extensions["celery"] = celery_app
    return celery_app


@shared_task(ignore_result=False, name="add_together")
def add_together(a: int, b: int) -> int:
    return a + b


@shared_task(bind=True, ignore_result=False, name="process")
def process(self: Task, total: int) -> str:
    for number in range(total):
        self.update_state(state="PROGRESS", meta={"current": number + 1, "total": total})
    return f"{total} in {current_app.name}"


@shared_task(name="block")
def block() -> None:
    """A task whose result is ignored, because of `task_ignore_result`."""


routes = Blueprint("tasks", __name__)


@routes.post("/add")
def start_add() -> dict[str, object]:
    result = add_together.delay(request.form.get("a", type=int), request.form.get("b", type=int))
    return {"result_id": result.id}


@routes.post("/process")
def start_process() -> dict[str, object]:
    return {"result_id": process.delay(total=request.form.get("total", type=int)).id}


@routes.post("/block")
def start_block() -> dict[str, object]:
    return {"result_id": block.delay().id}


@routes.get("/result/<id>")
def task_result(id: str) -> dict[str, Any]:
    result = AsyncResult(id)
    ready = result.ready()
    return {
        "ready": ready,
        "successful": result.successful() if ready else None,
        "value": result.get() if ready else result.result,
    }


def create_app() -> Flask:
    app = Flask("documented")
    app.config.from_mapping(
        CELERY={
            "broker_url": os.environ["REDIS_URL"],
            "result_backend": os.environ["REDIS_URL"],
            "task_ignore_result": True,
        },
    )
    app.config.from_prefixed_env()
    celery_init_app(app)
    app.register_blueprint(routes)
    return app


flask_app = create_app()
celery_app = flask_app.extensions["celery"]
