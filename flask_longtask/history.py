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


def remember(backend: RedisBackend, task_id: str) -> dict[str, Any] | None:
    """Add a task that this browser has just started. Returns its status object.

    An app without a SECRET_KEY has no sessions: its tasks run, and no browser gets them listed.
    """
    if not current_app.secret_key:
        return backend.describe([task_id])[task_id]
    return backend.list_and_describe(_key(ensure_browser()), LENGTH, task_id)


def started_here(backend: RedisBackend) -> list[str]:
    """The ids of the tasks that this browser has started, newest first."""
    if _SESSION_FIELD not in session:
        return []
    task_ids: list[Any] = backend.web_client.lrange(_key(session[_SESSION_FIELD]), 0, -1)
    return [task_id.decode() for task_id in task_ids]


def _key(browser: str) -> str:
    return f"longtask:browser:{browser}"
