"""Tests of one's own app: its tasks run without a Redis and without a worker's process. No pytest is needed here.

What is given here stands in for the servers only. Routes, the store's scripts, the status objects and the tasks are
the real ones.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flask import Flask

from flask_longtask.celery.app import Celery
from flask_longtask.installed import installed

__all__ = ["eager", "worker"]


@contextmanager
def eager(app: Flask) -> Iterator[Celery]:
    """Run each task of an app in the call that starts it, without Redis, a broker or a worker::

        with eager(app):
            started = client.post("/start")
            assert client.get(started.location).json["state"] == "SUCCESS"

    When `delay()` returns, the task has ended, and so have those that followed it: retries, chains, groups and chords
    are run as a worker runs them, from their messages, but without waiting for a `countdown` or `eta`. A task is in a
    context of its own: it sees nothing of the request that has started it, and of its database only what is committed.

    What a task raises is its FAILURE; with Celery's setting `task_eager_propagates` it is raised by `delay()`, too.

    All is forgotten at the end. Gives the app's Celery app. Raises RuntimeError for an app without LongTask, for one
    that is in `eager` or `worker` already, and where fakeredis is not installed.
    """
    celery_app = _celery_of(app)
    from flask_longtask.testing.inline import Eager  # noqa: PLC0415  # needs fakeredis

    with Eager.put_into(celery_app):
        yield celery_app


@contextmanager
def worker(app: Flask, concurrency: int = 1, **options: Any) -> Iterator[Any]:
    """Run a worker for an app in a thread of this process, without Redis or a broker::

        with worker(app):
            started = client.post("/start")
            ended = client.get(started.location, headers={"Prefer": "wait=10"})

    It runs `concurrency` tasks at a time, each in a thread. Such a thread cannot be ended: a cancelled task stops at
    its next report, and time limits do not count. `options` are those of `celery.contrib.testing.worker.start_worker`,
    such as `queues` or `shutdown_timeout`, the seconds for which the tasks that still run at the end are waited for
    (10); RuntimeError is raised for those that take longer.

    All is forgotten at the end. Gives Celery's worker. Raises as `eager` does.
    """
    celery_app = _celery_of(app)
    from flask_longtask.testing.threaded import run_worker  # noqa: PLC0415  # needs fakeredis

    with run_worker(celery_app, concurrency=concurrency, **options) as controller:
        yield controller


def _celery_of(app: Flask) -> Celery:
    try:
        import fakeredis  # noqa: F401, PLC0415
        import lupa  # type: ignore[import-untyped]  # noqa: F401, PLC0415
    except ImportError as error:
        raise RuntimeError(
            "flask_longtask.testing needs fakeredis: pip install 'Flask-LongTask[testing]'."
        ) from error
    with app.app_context():
        return installed().celery
