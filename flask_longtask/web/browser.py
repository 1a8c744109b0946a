"""The list of the tasks that a browser or a user has started, in the store. owner.py tells who sends a request.

A list in the session cookie would lose tasks: two starts at the same moment would each overwrite the other's cookie.
"""

from hashlib import blake2b
from weakref import WeakSet

from flask import Flask, current_app

from flask_longtask.installed import installed
from flask_longtask.store import Store
from flask_longtask.web import owner
from flask_longtask.web.problems import asking_the_store

#: The apps whose missing SECRET_KEY has been logged.
_warned: WeakSet[Flask] = WeakSet()


def remember(store: Store, task_id: str) -> None:
    """Add a task to the list of the user or browser that has just started it.

    An app without a SECRET_KEY has no sessions. Unless it knows the user, its tasks run but are not listed.
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
    """Return the ids of the tasks that the user, or else this browser, has started, newest first.

    An address has no list, since clients may share it and whoever knows the id of a task may read and cancel it.
    """
    name = _users_list() or owner.browser()
    return asking_the_store(store.browsers.tasks)(name) if name else []


def _users_list() -> str | None:
    user = owner.user()
    return (
        blake2b(user.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest() if user else None
    )
