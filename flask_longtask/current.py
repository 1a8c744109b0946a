"""Which Celery app `shared_task`, `AsyncResult(id)` and the like mean, where a process has several.

Celery knows a default app for the process and a current one for each thread. Another's are left alone.
"""

import celery
from celery.app import app_or_default
from flask import Flask, g
from flask.signals import appcontext_pushed, appcontext_tearing_down

from flask_longtask.installed import EXTENSION


def make_current(celery_app: celery.Celery, flask_app: Flask, is_given: bool) -> None:
    """Let shared tasks be those of `celery_app` while its Flask app is at work.

    Where the process has a Celery app already that is none of ours, shared tasks stay its own, unless
    `celery_app` `is_given`: the Flask app's author has chosen it then.
    """
    current = app_or_default()
    # Celery's own "default" is made by that question where there is no other.
    if current.main == "default" or hasattr(current, "flask_app"):
        celery_app.set_default()  # for who is in no context: of several the last, as Celery has it
    elif not is_given:
        flask_app.logger.warning(
            "The Celery app %r was there first, so shared tasks are its own. "
            "Give it to LongTask(app, celery=…), or make tasks with the task() of LongTask's Celery app.",
            current.main,
        )
        return
    appcontext_pushed.connect(_push, flask_app)
    appcontext_tearing_down.connect(_pop, flask_app)


def _push(sender: Flask, **_: object) -> None:
    g.longtask_celery_before = app_or_default()
    sender.extensions[EXTENSION].celery.set_current()


def _pop(sender: Flask, **_: object) -> None:
    if before := g.pop("longtask_celery_before", None):
        before.set_current()
