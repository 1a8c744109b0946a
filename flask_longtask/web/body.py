"""Half a request is no request: a body that does not come whole is refused with 400. What is in it is read elsewhere.

A server that ends the body itself, as gunicorn does (`wsgi.input_terminated`), also ends it where the client's
connection broke, and Werkzeug then takes what had come for all of it. See RFC 9112, section 8: a message that is
shorter than its Content-Length, or whose last chunk is missing, is incomplete.
"""

import io
from collections.abc import Iterable
from typing import IO
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import request
from werkzeug.exceptions import ClientDisconnected
from werkzeug.wsgi import get_content_length


class WholeBodies:
    """WSGI middleware for an app in which no route is to take half a body for a whole one."""

    def __init__(self, wsgi_app: WSGIApplication) -> None:
        self._wsgi_app = wsgi_app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        guard(environ)
        return self._wsgi_app(environ, start_response)


def guard(environ: WSGIEnvironment) -> None:
    """Let reading this request's body raise ClientDisconnected, a 400, where it is not whole.

    Call it before anything is read. Calling it again does nothing.
    """
    if get_content_length(environ) is not None:
        # Werkzeug then counts the bytes itself, and misses those that do not come.
        environ.pop("wsgi.input_terminated", None)
    elif "HTTP_TRANSFER_ENCODING" in environ and not isinstance(environ["wsgi.input"], _Chunks):
        environ["wsgi.input"] = _Chunks(environ["wsgi.input"])


def read_to_its_end() -> None:
    """For a route that takes no field: raise ClientDisconnected unless this request has come whole."""
    guard(request.environ)
    while request.stream.read(64 * 1024):
        pass


def exceeds_its_limit() -> bool:
    """Whether this request's body has more bytes than it may; a form that is refused may have too many fields."""
    limit, length = request.max_content_length, request.content_length
    if limit is None:
        return False
    return (request.stream.tell() >= limit) if length is None else length > limit


class _Chunks(io.RawIOBase):
    """A chunked body: whatever its reader finds wrong with it, it is not whole.

    For malformed chunks servers raise errors of their own, which nobody else would know.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._position = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]  # as Werkzeug's own
        try:
            data = self._stream.read(len(buffer))
        except Exception as error:
            raise ClientDisconnected from error
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def tell(self) -> int:
        return self._position
