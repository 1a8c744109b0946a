"""The app with a route that starts any of the tests' tasks in any way; the worker's app as well."""

from flask import request
from werkzeug.wrappers import Response

from app import app, celery
from flask_longtask import accepted
from tests.faults import tasks

__all__ = ["app", "celery", "tasks"]


@app.post("/start/<name>")
def start(name: str) -> Response:
    """The arguments of `apply_async` as JSON."""
    return accepted(getattr(tasks, name).apply_async(**request.get_json()))
