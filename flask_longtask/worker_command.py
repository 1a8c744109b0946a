"""The command that starts a worker of an app, for the page and for an error of `celery -A`."""

import sys
from functools import partial
from typing import Any, NoReturn

import click
from flask import Flask

from flask_longtask.installed import EXTENSION, Installed


def worker_command(app: Flask) -> str:
    """Return `LONGTASK_WORKER_COMMAND`, or a command that is found from the app's module, or ""."""
    configured: str = app.config["LONGTASK_WORKER_COMMAND"]
    if configured:
        return configured
    module = sys.modules.get(app.import_name)
    of_module = vars(module) if module else {}
    here: Installed = app.extensions[EXTENSION]
    if not any(value is here.flask_app for value in of_module.values()):
        return ""  # made by a factory, which a worker that imports the module may not call
    names = [name for name, value in of_module.items() if value is here.celery]
    # With `python app.py`, `app.import_name` is `__main__`; `app.name` is right.
    return f"celery -A {app.name}.{names[0]} worker" if names else ""


def init_app(app: Flask) -> None:
    # A macro that another template imports sees only globals.
    app.jinja_env.globals.setdefault("longtask_worker_command", partial(worker_command, app))
    app.user_options = _UserOptions(app)  # type: ignore[attr-defined]


class _UserOptions:
    """Stands in a Flask app where `celery -A app` looks for the `user_options` of a Celery app."""

    def __init__(self, app: Flask) -> None:
        self._app = app

    def get(self, *_: Any) -> NoReturn:
        command = worker_command(self._app) or "celery -A module.celery_app worker"
        raise click.UsageError(f"-A must name the Celery app, not the Flask app: {command}")
