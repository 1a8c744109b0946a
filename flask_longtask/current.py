"""Selects the Celery app that `shared_task`, `AsyncResult(id)` and the like use, where a process has several.

Celery has a default app for the process and a current app for each thread. A default app that is not LongTask's stays
the default.
"""

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any

import celery
from celery.app import app_or_default
from flask import Flask
from flask.globals import app_ctx
from flask.signals import appcontext_pushed, appcontext_tearing_down

from flask_longtask.installed import EXTENSION

#: The attribute of an app context that holds the Celery app to return to. In `g` the app would see it.
_BEFORE = "longtask_celery_before"


def make_current(celery_app: celery.Celery, flask_app: Flask, is_given: bool) -> None:
    """Make `celery_app` the current Celery app in each app context of `flask_app`, for its shared tasks.

    If the process already has a Celery app that is not LongTask's, shared tasks stay with that one, unless
    `is_given`: then the author of the Flask app has passed `celery_app` to LongTask.
    """
    current = app_or_default()
    # Where there is no Celery app yet, `app_or_default` has just made one named "default".
    if current.main == "default" or hasattr(current, "flask_app"):
        celery_app.set_default()  # outside of app contexts; of several, the last, as in Celery
    elif not is_given:
        flask_app.logger.warning(
            "Shared tasks belong to the Celery app %r, which was created first. Pass it to "
            "LongTask(app, celery=…), or define tasks with the task() decorator of LongTask's Celery app.",
            current.main,
        )
        return
    appcontext_pushed.connect(_push, flask_app)
    appcontext_tearing_down.connect(_pop, flask_app)
    _follow_async_views(flask_app, celery_app)


def _push(sender: Flask, **_: object) -> None:
    ours, before = sender.extensions[EXTENSION].celery, app_or_default()
    if before is not ours:
        vars(app_ctx)[_BEFORE] = before
        ours.set_current()


def _pop(sender: Flask, **_: object) -> None:
    if before := vars(app_ctx).pop(_BEFORE, None):
        before.set_current()


def _follow_async_views(flask_app: Flask, celery_app: celery.Celery) -> None:
    """Set the current Celery app in async views, too: asgiref runs them in a thread of their own."""
    async_to_sync = flask_app.async_to_sync

    def with_current(view: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
        @wraps(view)
        async def current(*args: Any, **kwargs: Any) -> Any:
            with celery_app.as_current():
                return await view(*args, **kwargs)

        return async_to_sync(current)

    flask_app.async_to_sync = with_current  # type: ignore[assignment, method-assign]
