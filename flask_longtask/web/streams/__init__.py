"""Sends changes of tasks as they happen: streams, and requests that wait. The routes are elsewhere."""

from flask import request


def may_wait() -> bool:
    """Whether this server can serve other requests while one waits. gunicorn cannot with its sync workers."""
    return request.is_multithread or "gunicorn.socket" not in request.environ
