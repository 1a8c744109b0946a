"""Which tasks a browser or a user has started: a list in the store. Who is asking is said by owner.py.

In the session cookie itself, two starts at the same moment would each overwrite what the other had added.
"""

from hashlib import blake2b

from flask import current_app

from flask_longtask.store import Store
from flask_longtask.web import owner


def remember(store: Store, task_id: str) -> None:
    """Add a task that has just been started by who is asking.

    An app without a SECRET_KEY has no sessions: where it does not say who is asking either, its tasks run and
    are listed nowhere.
    """
    if name := _users_list():
        store.browsers.add(name, task_id)
    elif current_app.secret_key:
        store.browsers.add(owner.ensure_browser(), task_id)


def started_here(store: Store) -> list[str]:
    """The ids of the tasks that the user has started, or else this browser, newest first.

    An address has no list: an id is the right to its task, and an address may be that of many.
    """
    name = _users_list() or owner.browser()
    return store.browsers.tasks(name) if name else []


def _users_list() -> str | None:
    user = owner.user()
    return (
        blake2b(user.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest() if user else None
    )
