"""The object that `LongTask(app)` stores in `app.extensions["longtask"]`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flask import Flask, current_app

if TYPE_CHECKING:
    from flask_longtask.celery.app import Celery
    from flask_longtask.web.streams.subscription import Subscription

EXTENSION = "longtask"

_Name = str | int | None

#: Returns the user of the current request, as the app names them; None if there is no known user.
Identify = Callable[[], _Name | Awaitable[_Name]]

#: Returns whether the user may "read", "cancel" or "list" a task, which is given as a status object.
Authorize = Callable[[dict[str, Any], str], bool | Awaitable[bool]]


@dataclass(frozen=True)
class Installed:
    """The extension in one app, with its options."""

    flask_app: Flask
    celery: Celery
    subscription: Subscription
    url_prefix: str
    identify: Identify | None = None
    authorize: Authorize | None = None


def installed() -> Installed:
    """Return the extension of the current app. Raises RuntimeError if the app has none."""
    found: Installed | None = current_app.extensions.get(EXTENSION)
    if found is None:
        raise RuntimeError(
            f"The app {current_app.name!r} has no LongTask: call LongTask(app) first."
        )
    return found
