"""What `LongTask(app)` leaves in an app: one object, in `app.extensions["longtask"]`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flask import Flask, current_app

if TYPE_CHECKING:
    from flask_longtask.celery.app import Celery
    from flask_longtask.web.streams.subscription import Subscription

EXTENSION = "longtask"

#: Says who is asking, as the app knows it; None where it does not know.
Identify = Callable[[], str | None]

#: Says whether who is asking may do something with a task: "read", "cancel" or "list" it.
Authorize = Callable[[dict[str, Any], str], bool]


@dataclass(frozen=True)
class Installed:
    """The extension in one app, with what it was given."""

    flask_app: Flask
    celery: Celery
    subscription: Subscription
    url_prefix: str
    identify: Identify | None = None
    authorize: Authorize | None = None


def installed() -> Installed:
    """The extension in the current app. Raises RuntimeError where it is in none."""
    found: Installed | None = current_app.extensions.get(EXTENSION)
    if found is None:
        raise RuntimeError(
            f"The app {current_app.name!r} has no LongTask: call LongTask(app) first."
        )
    return found
