"""Errors as RFC 9457 problem documents: how one is answered. Which errors are, and where, is said in protect.py."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from flask import Response, current_app, render_template, request
from redis.exceptions import RedisError
from werkzeug.datastructures import MIMEAccept
from werkzeug.exceptions import (
    BadHost,
    BadRequest,
    ClientDisconnected,
    HTTPException,
    RequestEntityTooLarge,
    SecurityError,
    ServiceUnavailable,
)
from werkzeug.http import parse_accept_header

from flask_longtask.celery.broker.queues import QueueFull
from flask_longtask.web import body

#: Seconds after which a client may try again what an outage has prevented.
RETRY_AFTER = 5


class BadBody(BadRequest):
    """The body of the request cannot be read: 400."""


class BadField(BadRequest):
    """A field of the request has a value that cannot be used: 400, with its name in `field`.

    `detail` goes on after the field's name: "must be a whole number."
    """

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(f"{field[:1].upper()}{field[1:]} {detail}")
        self.field = field


#: What is answered while Redis or the broker does not.
OUTAGE = ServiceUnavailable(
    "The task queue cannot be reached. Try again in a few seconds.", retry_after=RETRY_AFTER
)


def document(error: HTTPException) -> dict[str, Any]:
    """The problem document of this error."""
    document = {"title": error.name, "status": error.code, "detail": error.description}
    if isinstance(error, BadField):
        document["field"] = error.field
    return document


def problem(error: HTTPException) -> Response:
    """The answer to a request that ended in this error: a document, or a page for a browser."""
    answer = document(error)
    if error.description == RequestEntityTooLarge.description:
        answer["detail"] = _too_large()
    if isinstance(error, ClientDisconnected):
        answer["detail"] = "The body is incomplete: it was cut off, or its chunks are malformed."
    if wants_html() and not _is_for_no_host(error):
        response = Response(render_template("longtask/problem.html", problem=answer))
    else:
        response = Response(json.dumps(answer), mimetype="application/problem+json")
    response.status_code = error.code or 500
    for name, value in error.get_headers(request.environ):
        if name != "Content-Type":  # Allow, Retry-After and the like belong to the status
            response.headers[name] = value
    response.headers["Cache-Control"] = "no-store"
    response.vary.add("Accept")
    return response


def _is_for_no_host(error: HTTPException) -> bool:
    """Whether the request is for a host that is not ours or cannot be one: there are no addresses to link to."""
    return isinstance(error, SecurityError) or isinstance(
        request.routing_exception, SecurityError | BadHost
    )


def _too_large() -> str:
    """Which limit the body exceeds."""
    if body.exceeds_its_limit():
        return f"The body is too large: it may have at most {request.max_content_length:,} bytes."
    number, size = request.max_form_parts, request.max_form_memory_size
    limits = [f"at most {number:,} fields"] if number is not None else []
    limits += (
        [f"at most {size:,} bytes in each field other than a file"] if size is not None else []
    )
    return f"The form is too large: it may have {', and '.join(limits)}."


def wants_html() -> bool:
    """Whether a browser asks for a page. `*/*` alone, as curl sends it, is answered with JSON."""
    return prefers("application/json", "text/html") == "text/html"


def prefers(*offered: str) -> str:
    """Which of these the client wants most, the first of them where it does not care."""
    return _best_match(request.environ.get("HTTP_ACCEPT", ""), offered)


@lru_cache(maxsize=256)  # clients send few different ones, and send them with every poll
def _best_match(accept: str, offered: tuple[str, ...]) -> str:
    return parse_accept_header(accept, MIMEAccept).best_match(offered) or offered[0]


class StoreAway(RedisError):
    """Redis does not answer a question about tasks. A protected route answers 503."""


@contextmanager
def _asking() -> Iterator[None]:
    try:
        yield
    except RedisError as error:
        raise StoreAway(str(error)) from error


#: Decorates what asks the store for a request: its errors are told from those of the app's own Redis.
asking_the_store = _asking()


def outage(error: Exception) -> Response:
    """503 for a Redis or a broker that does not answer; what it said goes to the log only.

    A queue that is full is told as such.
    """
    if isinstance(error, QueueFull):
        return problem(ServiceUnavailable(f"{error} Try again later.", retry_after=RETRY_AFTER))
    current_app.logger.warning("Redis or the broker cannot be reached: %s", error)
    return problem(OUTAGE)
