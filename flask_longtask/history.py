"""Which tasks a browser has started: a list in Redis, whose name the browser's session cookie holds.

In the cookie itself, two starts at the same moment would each overwrite what the other had added.
"""

import secrets
from typing import Any

from flask import current_app, session

from flask_longtask.backend import RedisBackend

#: How many tasks a browser is shown; older ones still have their own addresses.
LENGTH = 100

_SESSION_FIELD = "longtask"


def ensure_browser() -> str:
    """The name of this browser's list. Call it where a page is served: its starts then find it set."""
    if _SESSION_FIELD not in session:
        session[_SESSION_FIELD] = secrets.token_urlsafe(16)
    name: str = session[_SESSION_FIELD]
    return name


def remember(backend: RedisBackend, task_id: str) -> None:
    """Add a task that this browser has just started.

    An app without a SECRET_KEY has no sessions: its tasks run, and no browser gets them listed.
    """
    if not current_app.secret_key:
        return
    key = f"longtask:browser:{ensure_browser()}"
    pipeline = backend.web_client.pipeline(transaction=False)
    pipeline.lpush(key, task_id)
    pipeline.ltrim(key, 0, LENGTH - 1)
    if backend.expires:
        pipeline.expire(key, backend.expires)
    pipeline.execute()


def started_here(backend: RedisBackend) -> list[str]:
    """The ids of the tasks that this browser has started, newest first."""
    if _SESSION_FIELD not in session:
        return []
    key = f"longtask:browser:{session[_SESSION_FIELD]}"
    task_ids: list[Any] = backend.web_client.lrange(key, 0, -1)
    return [task_id.decode() for task_id in task_ids]
