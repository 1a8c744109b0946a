"""Test helpers for apps: they run tasks without Redis and without a worker process. pytest is not required.

The helpers replace only the servers. Routes, the store's scripts, the status objects and the tasks are the real ones.
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

    When `delay()` returns, the task and all tasks that follow it have ended: retries, chains, groups and chords run
    from their messages, as in a worker, but without waiting for a `countdown` or `eta`. A task runs in a context of
    its own: it sees nothing of the request that started it, and only what that request has committed to the database.

    A task that raises ends as FAILURE; with Celery's setting `task_eager_propagates`, `delay()` raises the exception,
    too.

    Yields the app's Celery app. All tasks and results are discarded at the end. Raises RuntimeError if the app has no
    LongTask, if it is already in `eager` or `worker`, or if fakeredis is not installed.
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

    The worker runs `concurrency` tasks at a time, each in a thread. A thread cannot be terminated: a cancelled task
    stops at its next report, and time limits have no effect. `options` are passed to
    `celery.contrib.testing.worker.start_worker`, such as `queues`, or `shutdown_timeout`: the seconds to wait at the
    end for tasks that still run (default 10). RuntimeError is raised if they take longer.

    Yields Celery's worker. All tasks and results are discarded at the end. Raises the same errors as `eager`.
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
