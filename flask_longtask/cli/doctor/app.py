"""Checks of the Flask app and its tasks that need no Redis."""

from collections.abc import Iterable, Iterator
from typing import Any

from flask import Flask

from flask_longtask.cli.doctor.finding import Finding, mend, ok
from flask_longtask.cli.group import celery_app
from flask_longtask.web import clashes

#: The most names that one sentence lists.
MOST_NAMED = 5


def secret_key(app: Flask) -> Iterator[Finding]:
    if app.config["SECRET_KEY"]:
        yield ok("SECRET_KEY is set.")
    else:
        yield mend(
            "SECRET_KEY is not set, so a page does not show its tasks again after a reload. "
            'Set app.config["SECRET_KEY"].'
        )


def routes(_: Flask) -> Iterator[Finding]:
    if hidden := clashes.hidden():
        yield mend(
            f"The app's own routes hide those of Longtask at {_names(hidden)}. "
            'Set a prefix: LongTask(app, url_prefix="/jobs").'
        )
    else:
        yield ok("No route of the app hides one of Longtask's.")


def tasks(_: Flask) -> Iterator[Finding]:
    celery = celery_app()
    celery.loader.import_default_modules()
    own: dict[str, Any] = {
        name: task for name, task in celery.tasks.items() if not name.startswith("celery.")
    }
    if not own:
        yield mend(
            "The app has no tasks. Import the modules that define them where the app is created, "
            "or list them in Celery's imports setting."
        )
        return
    early = sorted(name for name, task in own.items() if not task.acks_late)
    if early:
        yield mend(
            f"acks_late is off for {_names(early)}: a task whose worker dies fails instead of starting again. "
            "Remove acks_late from the task, or task_acks_late from Celery's settings."
        )
    lost = sorted(
        name for name, task in own.items() if task.acks_late and not task.reject_on_worker_lost
    )
    if lost:
        yield mend(
            f"reject_on_worker_lost is off for {_names(lost)}: a task whose process is killed fails instead of "
            "starting again. Remove it from the task, or task_reject_on_worker_lost from Celery's settings."
        )
    if not early and not lost:
        number = f"{len(own)} tasks" if len(own) > 1 else "1 task"
        yield ok(f"{number}; each starts again when its worker dies.")


def _names(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - MOST_NAMED} more" if len(listed) > MOST_NAMED else ""
    return ", ".join(listed[:MOST_NAMED]) + more
