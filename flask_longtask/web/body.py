"""Refuses an incomplete request body with 400. The fields of a body are read elsewhere.

A server that marks the end of the body itself, as gunicorn does (`wsgi.input_terminated`), also marks it where the
client's connection broke, and Werkzeug then takes what arrived for the whole body. RFC 9112, section 8: a message
that is shorter than its Content-Length, or whose last chunk is missing, is incomplete.
"""

import io
from collections.abc import Iterable
from typing import IO
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import request
from werkzeug.exceptions import ClientDisconnected
from werkzeug.wsgi import get_content_length


class WholeBodies:
    """WSGI middleware that makes every route of an app refuse an incomplete request body."""

    def __init__(self, wsgi_app: WSGIApplication) -> None:
        self._wsgi_app = wsgi_app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        guard(environ)
        return self._wsgi_app(environ, start_response)


def guard(environ: WSGIEnvironment) -> None:
    """Make reading this request's body raise ClientDisconnected, a 400, if the body is incomplete.

    Call it before the body is read. Further calls do nothing.
    """
    if get_content_length(environ) is not None:
        # Without this key Werkzeug counts the bytes itself, and notices if some are missing.
        environ.pop("wsgi.input_terminated", None)
    elif "HTTP_TRANSFER_ENCODING" in environ and not isinstance(environ["wsgi.input"], _Chunks):
        environ["wsgi.input"] = _Chunks(environ["wsgi.input"])


def read_to_its_end() -> None:
    """For a route without fields: read the body, and raise ClientDisconnected if it is incomplete."""
    guard(request.environ)
    while request.stream.read(64 * 1024):
        pass


def exceeds_its_limit() -> bool:
    """Whether this request's body has too many bytes. A form may also be refused for too many fields."""
    limit, length = request.max_content_length, request.content_length
    if limit is None:
        return False
    return (request.stream.tell() >= limit) if length is None else length > limit


class _Chunks(io.RawIOBase):
    """A chunked body. Any error while it is read becomes ClientDisconnected.

    Servers raise errors of their own for malformed chunks, which neither Werkzeug nor an app handles.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._position = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]  # as in Werkzeug
        try:
            data = self._stream.read(len(buffer))
        except Exception as error:
            raise ClientDisconnected from error
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def tell(self) -> int:
        return self._position
