"""Which tasks a browser or a user has started: a list in the store. Who is asking is said by owner.py.

In the session cookie itself, two starts at the same moment would each overwrite what the other had added.
"""

from hashlib import blake2b
from weakref import WeakSet

from flask import Flask, current_app

from flask_longtask.installed import installed
from flask_longtask.store import Store
from flask_longtask.web import owner
from flask_longtask.web.problems import asking_the_store

#: The apps without a SECRET_KEY of which the log says so already.
_warned: WeakSet[Flask] = WeakSet()


def remember(store: Store, task_id: str) -> None:
    """Add a task that has just been started by who is asking.

    An app without a SECRET_KEY has no sessions: where it does not say who is asking either, its tasks run and
    are listed nowhere.
    """
    if name := _users_list():
        asking_the_store(store.browsers.add)(name, task_id)
    elif current_app.secret_key:
        asking_the_store(store.browsers.add)(owner.ensure_browser(), task_id)
    elif (app := installed().flask_app) not in _warned:
        _warned.add(app)
        app.logger.warning(
            "The app %r has no SECRET_KEY, so a page does not show its tasks again after a reload.",
            app.name,
        )


def started_here(store: Store) -> list[str]:
    """The ids of the tasks that the user has started, or else this browser, newest first.

    An address has no list: an id is the right to its task, and an address may be that of many.
    """
    name = _users_list() or owner.browser()
    return asking_the_store(store.browsers.tasks)(name) if name else []


def _users_list() -> str | None:
    user = owner.user()
    return (
        blake2b(user.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest() if user else None
    )
