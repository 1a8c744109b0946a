"""Answers to errors as RFC 9457 problem documents. Which errors are answered like this is in protect.py."""

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

#: Seconds after which a client may try again after an outage.
RETRY_AFTER = 5


class BadBody(BadRequest):
    """The body of the request cannot be read: 400."""


class BadField(BadRequest):
    """A field of the request has an invalid value: 400, with the field's name in `field`.

    `detail` continues the sentence that begins with the field's name: "must be a whole number."
    """

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(f"{field[:1].upper()}{field[1:]} {detail}")
        self.field = field


#: The error while Redis or the broker does not answer.
OUTAGE = ServiceUnavailable(
    "The task queue cannot be reached. Try again in a few seconds.", retry_after=RETRY_AFTER
)


def document(error: HTTPException) -> dict[str, Any]:
    """Return the problem document of this error."""
    document = {"title": error.name, "status": error.code, "detail": error.description}
    if isinstance(error, BadField):
        document["field"] = error.field
    return document


def problem(error: HTTPException) -> Response:
    """Return the answer to a request that ended in this error: a problem document, or a page for a browser."""
    answer = document(error)
    if error.description == RequestEntityTooLarge.description:
        answer["detail"] = _too_large()
    if isinstance(error, ClientDisconnected):
        answer["detail"] = "The body is incomplete: it was cut off, or its chunks are malformed."
    if wants_html() and not _is_for_no_host(error):
        response = Response(
            render_template(
                "longtask/problem.html", problem=answer, token=getattr(error, "token", None)
            )
        )
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
    """Whether the request is for an untrusted or invalid host. A page could not build its links."""
    return isinstance(error, SecurityError) or isinstance(
        request.routing_exception, SecurityError | BadHost
    )


def _too_large() -> str:
    """Return a sentence about the limit that the body exceeds."""
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
    """Return the media type that the client prefers; the first one if it has no preference."""
    return _best_match(request.environ.get("HTTP_ACCEPT", ""), offered)


@lru_cache(maxsize=256)  # clients send few different headers, and send them with every poll
def _best_match(accept: str, offered: tuple[str, ...]) -> str:
    return parse_accept_header(accept, MIMEAccept).best_match(offered) or offered[0]


class StoreAway(RedisError):
    """Redis did not answer while a request asked about tasks. A protected route answers 503."""


@contextmanager
def _asking() -> Iterator[None]:
    try:
        yield
    except RedisError as error:
        raise StoreAway(str(error)) from error


#: Decorates functions that ask the store, to tell its errors from those of a Redis that the app uses itself.
asking_the_store = _asking()


def outage(error: Exception) -> Response:
    """Return the 503 for a Redis or a broker that does not answer, and log the error.

    For a full queue, the answer says that the queue is full.
    """
    if isinstance(error, QueueFull):
        return problem(ServiceUnavailable(f"{error} Try again later.", retry_after=RETRY_AFTER))
    current_app.logger.warning("Redis or the broker cannot be reached: %s", error)
    return problem(OUTAGE)
