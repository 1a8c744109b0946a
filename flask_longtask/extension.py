"""The extension: its settings, and how its parts are put together. Each part has a module of its own."""

import celery
from flask import Flask

from flask_longtask.celery.app import Celery
from flask_longtask.page import nanobar
from flask_longtask.web import idempotency, openapi, origin, owner, problems, stream, token
from flask_longtask.web.routes import bp

#: The extension's own settings, which a Flask app's config overrides.
DEFAULTS = {
    # The token that every request but /health needs, as `Authorization: Bearer …`; "" for none.
    "LONGTASK_API_TOKEN": "",
    # Seconds that a cancelled task has to stop by itself before its process is ended.
    "LONGTASK_CANCEL_GRACE_SECONDS": 5.0,
    # Seconds within which another worker has the tasks of one that died.
    "LONGTASK_LEASE_SECONDS": 30.0,
    # How often a task is started whose worker is lost each time.
    "LONGTASK_MAX_ATTEMPTS": 3,
    # Bytes of a result beyond which it is not sent with the status, but has an address of its own.
    "LONGTASK_MAX_RESULT_BYTES": 256 * 1024,
    # Tasks that may wait in a queue before starting one more is refused with 503; 0 for any number.
    "LONGTASK_MAX_WAITING": 10_000,
    # Wrong tokens that a client may show in a minute before it is refused with 429 for the rest of it.
    "LONGTASK_WRONG_TOKENS": 10,
}


class LongTask:
    """The extension: `LongTask(app)`, or `init_app` for an app factory.

    It makes the Celery app from the Flask setting CELERY, a dict of Celery's own settings of which
    `broker_url` and `result_backend` (a Redis) are needed, keeps it in `app.extensions["celery"]` as
    Flask's documentation has it, and registers the routes of web/routes.py.
    Its own settings are in DEFAULTS.

    `identify` is for an app that knows its users: called in a request without arguments, it returns a str that
    names who is asking, or None. Idempotency keys and the list of one's own tasks are then the user's, whatever
    the browser. Without it, or where it returns None, they are the browser's; a key of a client without a session
    is its address's, which has no list.
    """

    def __init__(self, app: Flask | None = None, identify: owner.Identify | None = None) -> None:
        if app is not None:
            self.init_app(app, identify)

    def init_app(self, app: Flask, identify: owner.Identify | None = None) -> celery.Celery:
        for setting, default in DEFAULTS.items():
            app.config.setdefault(setting, default)
        celery_app = Celery(app, idempotency.FlaskRequests())
        app.extensions["celery"] = celery_app
        app.register_blueprint(bp)
        for part in (problems, origin, token, idempotency, openapi, nanobar):
            part.init_app(app)
        owner.init_app(app, identify)
        stream.init_app(app, celery_app)
        return celery_app
