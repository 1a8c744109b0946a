"""How a worker of an app is started: for the page, and for an error of `celery -A`."""

import sys
from functools import partial
from typing import Any, NoReturn

import click
from flask import Flask

from flask_longtask.installed import EXTENSION, Installed


def worker_command(app: Flask) -> str:
    """`LONGTASK_WORKER_COMMAND`, or what the app's module tells; "" if nothing does."""
    configured: str = app.config["LONGTASK_WORKER_COMMAND"]
    if configured:
        return configured
    module = sys.modules.get(app.import_name)
    of_module = vars(module) if module else {}
    here: Installed = app.extensions[EXTENSION]
    if not any(value is here.flask_app for value in of_module.values()):
        return ""  # a factory has made it, and whether a worker would call that is not known here
    names = [name for name, value in of_module.items() if value is here.celery]
    # `app.name` is right under `python app.py`, too.
    return f"celery -A {app.name}.{names[0]} worker" if names else ""


def init_app(app: Flask) -> None:
    # An imported template sees globals only.
    app.jinja_env.globals.setdefault("longtask_worker_command", partial(worker_command, app))
    app.user_options = _UserOptions(app)  # type: ignore[attr-defined]


class _UserOptions:
    """Stands where `celery -A app` looks for Celery's own `user_options`, in a Flask app."""

    def __init__(self, app: Flask) -> None:
        self._app = app

    def get(self, *_: Any) -> NoReturn:
        command = worker_command(self._app) or "celery -A module.celery_app worker"
        raise click.UsageError(f"-A must name the Celery app, not the Flask app: {command}")
