"""A user's app, as its own tests create it: no Redis listens at the address in its settings."""

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import celery
from celery import chord, group
from celery.exceptions import Ignore, Reject, Retry
from flask import Flask, current_app, has_request_context
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import text
from werkzeug.wrappers import Response

from flask_longtask import LongTask, TaskCancelled, accepted
from tests.processes import PATIENCE

#: An address on which nothing listens.
NOWHERE = "redis://127.0.0.1:1/0"

db = SQLAlchemy()


class Gate(celery.Task):  # type: ignore[misc]  # Celery has no types
    """A base class of its author's, which lets nothing pass."""

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        if "ended" in self.name:
            raise SystemExit(3)
        raise Ignore


class Site:
    """The app, its Celery app and its tasks. `ways` has functions that start tasks, by name."""

    def __init__(self, **settings: Any) -> None:
        self.app = Flask("own_site")
        self.app.testing = True
        self.app.config["SECRET_KEY"] = "own"
        self.app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite://"
        self.app.config["CELERY"] = {"broker_url": NOWHERE, "result_backend": NOWHERE, **settings}
        db.init_app(self.app)
        self.longtask = LongTask(self.app)
        self.celery: celery.Celery = self.app.extensions["celery"]
        #: Set it to let the task `waits` go on.
        self.release = threading.Event()
        #: The tasks that ran.
        self.runs: list[str] = []
        self.ways: dict[str, Callable[[], Any]] = {}
        self._add_tasks()

        @self.app.post("/start/<name>")
        @self.longtask.protect
        def start(name: str) -> Response:
            return accepted(self.ways[name]())

        @self.app.post("/unprotected/<name>")
        def start_unprotected(name: str) -> Response:
            return accepted(self.ways[name]())

    def _add_tasks(self) -> None:
        def new(**options: Any) -> Any:
            """Return a decorator for tasks of this Celery app only. By default, all Celery apps share tasks."""
            return self.celery.task(bind=True, shared=False, default_retry_delay=0, **options)

        task = new()

        @task
        def add(self: Any, a: int, b: int) -> int:
            site.runs.append("add")
            self.update_state(meta={"current": 1, "total": 2, "status": "Adding"})
            return a + b

        @task
        def add_up(self: Any, numbers: list[int]) -> int:
            return sum(numbers)

        @task
        def breaks(self: Any, *before: Any) -> None:
            for number in self.track(range(10), "Counting"):
                if number == 3:
                    raise ValueError("The shelf is empty")

        @task
        def breaks_after_a_report(self: Any) -> None:
            self.update_state(meta={"current": 1, "total": 4, "status": "Looking"})
            raise LookupError("Nothing there")

        @new(autoretry_for=(OSError,))
        def succeeds_at_last(self: Any) -> int:
            if self.request.retries < 2:
                raise OSError("No answer")
            return int(self.request.retries)

        @new(max_retries=4)
        def never_succeeds(self: Any) -> None:
            try:
                raise OSError("No answer")
            except OSError as error:
                raise self.retry(exc=error) from error

        @new(ignore_result=True, max_retries=4)
        def succeeds_silently(self: Any) -> str:
            if self.request.retries < 4:
                raise self.retry()
            return "not kept"

        @task
        def is_cancelled(self: Any) -> None:
            assert self.backend.cancel(self.request.id)
            try:
                self.update_state(meta={"current": 1, "total": 2, "status": "Too late"})
            except TaskCancelled:
                site.runs.append("stopped")
                raise

        @task
        def ignores(self: Any) -> None:
            raise Ignore

        @new(base=Gate)
        def is_ignored_by_its_base(self: Any) -> None:
            site.runs.append("in spite of its base")

        @new(base=Gate)
        def is_ended_by_its_base(self: Any) -> None:
            site.runs.append("in spite of its base")

        @task
        def raises_retry(self: Any) -> None:
            raise Retry("later")

        @task
        def calls_itself(self: Any, depth: int = 2) -> str:
            for number in self.track(range(4), "Descending"):
                if number == 1 and depth:
                    with suppress(Ignore):
                        self(depth - 1)
                elif number == 1:
                    raise Ignore
            self.update_state(meta={"current": 3, "total": 4, "status": f"Back at {depth}"})
            return f"back at {depth}"

        @task
        def rejects(self: Any) -> None:
            raise Reject("not for me", requeue=False)

        @task
        def exits(self: Any) -> None:
            raise SystemExit(3)

        @task
        def starts_another(self: Any) -> str:
            return str(add.delay(20, 3).id)

        @task
        def replaces_itself(self: Any) -> None:
            raise self.replace(add.s(20, 3))

        @task
        def sees_the_request(self: Any) -> bool:
            return has_request_context()

        @task
        def names_its_app(self: Any) -> str:
            return current_app.name

        @task
        def waits(self: Any) -> str:
            self.update_state(meta={"current": 1, "total": 2, "status": "Waiting"})
            assert site.release.wait(PATIENCE)
            self.update_state(meta={"current": 2, "total": 2, "status": "Going on"})
            return "released"

        @task
        def counts_rows(self: Any) -> int:
            return int(db.session.execute(text("SELECT count(*) FROM things")).scalar_one())

        def on_commit() -> Any:
            db.session.execute(text("CREATE TABLE things (name TEXT)"))
            db.session.execute(text("INSERT INTO things VALUES ('one'), ('two')"))
            result = counts_rows.delay_on_commit()
            db.session.commit()
            return result

        site = self
        tasks = [add_up, breaks_after_a_report, succeeds_at_last, never_succeeds, succeeds_silently]
        tasks += [is_ignored_by_its_base, is_ended_by_its_base, raises_retry, calls_itself]
        tasks += [is_cancelled, ignores, rejects, exits, starts_another, replaces_itself]
        tasks += [sees_the_request, waits, breaks]
        self.ways |= {each.name.rpartition(".")[2]: each.delay for each in tasks}
        self.ways |= {
            "add": lambda: add.delay(1, 2),
            "add_later": lambda: add.apply_async((1, 2), countdown=3600),
            "add_too_late": lambda: add.apply_async((1, 2), expires=-5),
            "add_by_apply": lambda: add.apply((1, 2)),
            "chain": (add.s(1, 2) | add.s(3) | add.s(4)).delay,
            "broken_chain": (breaks.s() | add.s(3)).delay,
            "group": lambda: group(add.s(1, 2), breaks.s()).delay(),
            "chord": lambda: chord([add.s(1, 2), add.s(3, 4)])(add_up.s()),
            "broken_chord": lambda: chord([add.s(1, 2), breaks.s()])(add_up.s()),
            "on_commit": on_commit,
            "elsewhere": lambda: self.celery.send_task("another.app.task"),
        }
        self.add, self.breaks, self.names_its_app = add, breaks, names_its_app
