"""Which tasks a browser has started: a list in the store, whose name the browser's session cookie holds.

In the cookie itself, two starts at the same moment would each overwrite what the other had added.
"""

import secrets

from flask import current_app, session

from flask_longtask.store import Store

_SESSION_FIELD = "longtask"


def ensure_browser() -> str:
    """The name of this browser's list. Call it where a page is served: its starts then find it set."""
    if _SESSION_FIELD not in session:
        session[_SESSION_FIELD] = secrets.token_urlsafe(16)
    name: str = session[_SESSION_FIELD]
    return name


def remember(store: Store, task_id: str) -> None:
    """Add a task that this browser has just started.

    An app without a SECRET_KEY has no sessions: its tasks run, and are listed nowhere.
    """
    if current_app.secret_key:
        store.browsers.add(ensure_browser(), task_id)


def started_here(store: Store) -> list[str]:
    """The ids of the tasks that this browser has started, newest first."""
    return store.browsers.tasks(session[_SESSION_FIELD]) if _SESSION_FIELD in session else []
