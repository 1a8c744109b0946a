"""Telling of changes as they come: streams, and requests that wait. The routes are elsewhere."""

from flask import request


def may_wait() -> bool:
    """Whether this server can serve others while a request waits: not gunicorn with its sync workers."""
    return request.is_multithread or "gunicorn.socket" not in request.environ
