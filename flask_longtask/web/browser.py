"""The list of the tasks that a browser or a user has started, in the store. owner.py tells who sends a request.

A list in the session cookie would lose tasks: two starts at the same moment would each overwrite the other's cookie.
"""

from contextlib import suppress
from hashlib import blake2b
from weakref import WeakSet

from flask import Flask, current_app
from redis.exceptions import RedisError

from flask_longtask.installed import installed
from flask_longtask.store import Store
from flask_longtask.web import owner
from flask_longtask.web.kept import kept
from flask_longtask.web.problems import asking_the_store

#: The apps whose missing SECRET_KEY has been logged.
_warned: WeakSet[Flask] = WeakSet()


def list_name() -> str | None:
    """Return the name of the list to which the step that accepts a task adds it; None if it shall not.

    That saves a round trip if the view answers with `accepted(task)`, as a start route does. Until then it is only
    expected: `forget_expected` removes a task that was not passed to `accepted`.
    """
    values = kept()
    if "listed" in values:
        return None
    name = _users_list() or (owner.browser_to_be() if current_app.secret_key else None)
    values["list"] = name
    return name


def note_accepted(task_id: str) -> None:
    """Note that a task was accepted, and added to the list that `list_name` returned for it, if there was one."""
    values = kept()
    if name := values.pop("list", None):
        values["listed"] = name, task_id


def forget_expected() -> None:
    """Remove the task from its list that was added to it, but not passed to `accepted`. For the end of a request."""
    if listed := kept().pop("listed", None):
        with suppress(RedisError):
            installed().celery.backend.store.browsers.remove(*listed)


def remember(store: Store, task_id: str) -> None:
    """Add a task to the list of the user or browser that has just started it.

    An app without a SECRET_KEY has no sessions. Unless it knows the user, its tasks run but are not listed.
    """
    if name := _users_list() or (owner.ensure_browser() if current_app.secret_key else None):
        values = kept()
        if values.get("listed") == (name, task_id):
            del values["listed"]
        else:
            asking_the_store(store.browsers.add)(name, task_id)
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
