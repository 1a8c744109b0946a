"""The app with a route that starts any of the tests' tasks in any way; the worker's app as well."""

from celery import chain, chord
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


@app.post("/start-chain/<name>/<int:length>")
def start_chain(name: str, length: int) -> list[str]:
    """The ids of tasks of which each follows the one before it."""
    result = chain(getattr(tasks, name).si() for _ in range(length)).delay()
    task_ids = []
    while result is not None:
        task_ids.insert(0, result.id)
        result = result.parent
    return task_ids


@app.post("/start-chord/<name>/<other>")
def start_chord(name: str, other: str) -> list[str]:
    """The ids of two tasks and of the one that gathers their results."""
    header = [getattr(tasks, each).si() for each in (name, other)]
    result = chord(header)(tasks.gathering.s())
    return [*(each.id for each in result.parent), result.id]
