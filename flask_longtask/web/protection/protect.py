"""Protects the routes that start tasks, and those of this extension: three checks, and answers to its own errors.

Routes of the app that are not protected behave as without the extension, whatever they receive or raise.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, overload

from flask import Blueprint, Flask, current_app
from werkzeug.exceptions import (
    ClientDisconnected,
    RequestEntityTooLarge,
    UnsupportedMediaType,
)

from flask_longtask.celery.broker.queues import QueueFull
from flask_longtask.celery.sender import QueueAway
from flask_longtask.web.kept import kept
from flask_longtask.web.problems import BadBody, BadField, StoreAway, outage, problem
from flask_longtask.web.protection.idempotency import KeyBusy, KeyReused, check_key
from flask_longtask.web.protection.origin import CrossOrigin, check_origin
from flask_longtask.web.protection.token import TokenMissing, TooManyTokens, check_token

View = TypeVar("View", bound=Callable[..., Any])
Routes = TypeVar("Routes", Flask, Blueprint)

_REFUSALS = (
    *(BadBody, BadField, CrossOrigin, KeyBusy, KeyReused, TokenMissing, TooManyTokens),
    # For a body that cannot be used: raised by `fields`, or by Werkzeug itself.
    *(ClientDisconnected, RequestEntityTooLarge, UnsupportedMediaType),
)
_OUTAGES = (QueueAway, QueueFull, StoreAway)


@overload
def protect(target: Routes) -> Routes: ...
@overload
def protect(target: View) -> View: ...
def protect(target: Any) -> Any:
    """Protect a route that starts tasks, or all routes of an app or a blueprint.

    A protected route refuses a request that a page of another site makes with this browser's cookies (403) and, if
    `LONGTASK_API_TOKEN` is set, a request without this token (401). It honours `Idempotency-Key`. It answers the errors
    of this extension as problem documents: 503 while the queue cannot be reached, 400 for a BadField. The same holds
    for a body that is incomplete (400), too large (413), or neither a form nor JSON (415).

    As a decorator, it goes below the decorator of the route. Above that, it has no effect::

        @app.post("/start")
        @longtask.protect
        def start():
            return accepted(my_task.delay())

    `longtask.protect(app)` protects a whole app, including its pages and static files.
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
    """Raise the error that refuses this request, if any. After a request has passed, further calls do nothing."""
    values = kept()
    if "checked" not in values:
        check_origin()
        check_token()
        check_key()
        values["checked"] = True
