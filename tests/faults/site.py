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
    """Start a task with the arguments of `apply_async`, given as JSON."""
    return accepted(getattr(tasks, name).apply_async(**request.get_json()))


@app.post("/start-chain/<name>/<int:length>")
def start_chain(name: str, length: int) -> list[str]:
    """The ids of the tasks of a chain, each of which follows the one before."""
    result = chain(getattr(tasks, name).si() for _ in range(length)).delay()
    task_ids = []
    while result is not None:
        task_ids.insert(0, result.id)
        result = result.parent
    return task_ids


@app.post("/start-chord/<name>/<other>")
def start_chord(name: str, other: str) -> list[str]:
    """The ids of the two tasks of a chord and of its body."""
    header = [getattr(tasks, each).si() for each in (name, other)]
    result = chord(header)(tasks.gathering.s())
    return [*(each.id for each in result.parent), result.id]
