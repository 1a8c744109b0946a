"""The app with a route that starts a task of any kind of the chaos run; the workers' app as well."""

from collections.abc import Callable
from typing import Any

from celery import chain, chord, group
from celery.result import AsyncResult, GroupResult
from flask import request
from werkzeug.wrappers import Response

from app import app, celery, long_task
from flask_longtask import accepted
from flask_longtask.json_text import dumps
from flask_longtask.web.protection.idempotency import counts
from tests.chaos.system import tasks

__all__ = ["app", "celery"]

Starter = Callable[[str, float], Any]


def _one(task: Any, **options: Any) -> Starter:
    return lambda key, seconds: task.apply_async((key, seconds), **options)


def _later(key: str, seconds: float) -> AsyncResult:
    countdown = request.get_json()["countdown"]
    return tasks.silent.apply_async((key, seconds / 4), countdown=countdown)


def _chain(key: str, seconds: float) -> AsyncResult:
    return chain(tasks.reporting.si(key, seconds / 3) for _ in range(3)).delay()


def _group(key: str, seconds: float) -> GroupResult:
    return group(tasks.silent.si(key, seconds / 3) for _ in range(3)).delay()


def _chord(key: str, seconds: float) -> AsyncResult:
    header = [tasks.reporting.si(key, seconds / 3) for _ in range(2)]
    return chord(header)(tasks.gathering.s(key))


#: By kind; plan.py says of each what is expected of it.
STARTERS: dict[str, Starter] = {
    **{
        name: _one(getattr(tasks, name))
        for name in (
            *("reporting", "tracking", "silent", "failing", "retrying", "ignoring"),
            *("exiting", "interrupted"),
        )
    },
    # Where no thread waits for it, which nobody could end.
    "stubborn": _one(tasks.stubborn, queue="mail"),
    "later": _later,
    "chain": _chain,
    "group": _group,
    "chord": _chord,
    "long_task": lambda key, seconds: long_task.delay(round(5 * seconds), 0.2),
}


def _ids(result: Any) -> list[str]:
    """The ids of a family's tasks, those that come first at the beginning."""
    ids: list[str] = []
    while result is not None:
        parts = result.results if isinstance(result, GroupResult) else [result]
        ids[:0] = [counts(part.id) for part in parts]
        result = result.parent
    return ids


@app.post("/chaos/<kind>")
def start(kind: str) -> Response:
    """Start a task, or a family of them: 202 with all their ids."""
    wish = request.get_json()
    result = STARTERS[kind](wish["key"], wish["seconds"])
    task_ids = _ids(result)
    response = accepted(result.results[-1] if isinstance(result, GroupResult) else result)
    response.set_data(dumps({"task_ids": task_ids}))
    return response
