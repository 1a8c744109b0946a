"""An app with an operators' page: `gunicorn tests.operate.site:app`. Its users say who they are in a header."""

import os
from typing import Any

from celery import group
from flask import Flask, request
from werkzeug.wrappers import Response

from flask_longtask import LongTask, accepted
from tests import tasks
from tests.processes import ROOT


def identify() -> str | None:
    return request.headers.get("X-User")


def authorize(task: dict[str, Any], action: str) -> bool:
    """Let the manager open the page and see everything, and cancel nothing but their own."""
    if identify() == "manager":
        return action in ("operate", "read") or task["owner"] == "manager"
    return bool(task["owner"] == identify())  # a visitor, who is None, owns what nobody has started


app = Flask(__name__, static_folder=str(ROOT / "static"))
app.config["SECRET_KEY"] = os.environ.get("SECRET_KEY", "operate")
app.config["CELERY"] = {
    "broker_url": os.environ["REDIS_URL"],
    "result_backend": os.environ["REDIS_URL"],
    "task_queues": {name: {"routing_key": name} for name in ("celery", "mail")},
}
longtask = LongTask(
    app,
    identify=identify,
    authorize=authorize if "AUTHORIZE" in os.environ else None,
    url_prefix=os.environ.get("URL_PREFIX"),
)
celery = app.extensions["celery"]


@app.post("/group")
@longtask.protect
def start_group() -> Response:
    return accepted(group(tasks.reporting.s({"current": 1, "total": 2}) for _ in range(3))())


@app.post("/start/<name>")
@longtask.protect
def start(name: str) -> Response:
    """Start a task. The request has the arguments of `apply_async` as JSON."""
    return accepted(getattr(tasks, name).apply_async(**(request.get_json(silent=True) or {})))
