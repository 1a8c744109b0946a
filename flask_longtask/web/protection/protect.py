"""What protects routes that start tasks, and those of this extension: three checks, and answers to its own errors.

Routes of the app that are not protected stay as they are, whatever is sent to them and whatever they raise.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, overload

from flask import Blueprint, Flask, current_app

from flask_longtask.celery.broker.queues import QueueFull
from flask_longtask.celery.sender import QueueAway
from flask_longtask.web.kept import kept
from flask_longtask.web.problems import BadBody, BadField, StoreAway, outage, problem
from flask_longtask.web.protection.idempotency import KeyBusy, KeyReused, check_key
from flask_longtask.web.protection.origin import CrossOrigin, check_origin
from flask_longtask.web.protection.token import TokenMissing, TooManyTokens, check_token

View = TypeVar("View", bound=Callable[..., Any])
Routes = TypeVar("Routes", Flask, Blueprint)

_REFUSALS = (BadBody, BadField, CrossOrigin, KeyBusy, KeyReused, TokenMissing, TooManyTokens)
_OUTAGES = (QueueAway, QueueFull, StoreAway)


@overload
def protect(target: Routes) -> Routes: ...
@overload
def protect(target: View) -> View: ...
def protect(target: Any) -> Any:
    """Protect a route that starts tasks, or all routes of an app or a blueprint.

    A request that another site's page makes with this browser's cookies is refused (403); where
    `LONGTASK_API_TOKEN` is set, so is one without it (401). An `Idempotency-Key` counts. The errors of this
    extension are answered as problem documents: 503 while the queue cannot be reached, 400 for a BadField.

    As a decorator it comes below the route's own. Above it, it protects nothing::

        @app.post("/start")
        @longtask.protect
        def start():
            return accepted(my_task.delay())

    `longtask.protect(app)` does it for a whole app, its pages and static files too.
    """
    if isinstance(target, Flask | Blueprint):
        target.before_request(check)
        for refusal in _REFUSALS:
            target.register_error_handler(refusal, problem)
        for away in _OUTAGES:
            target.register_error_handler(away, outage)
        return target

    @wraps(target)
    def protected(*args: Any, **kwargs: Any) -> Any:
        try:
            check()
            return current_app.ensure_sync(target)(*args, **kwargs)
        except _REFUSALS as error:
            return problem(error)
        except _OUTAGES as error:
            return outage(error)

    return protected


def check() -> None:
    """Raise what refuses this request. Once it has passed, a second call does nothing."""
    if "checked" not in kept():
        check_origin()
        check_token()
        check_key()
        kept()["checked"] = True
