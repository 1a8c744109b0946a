"""The extension: how its parts are put together. Each part has a module of its own."""

from typing import Any

from celery import Celery as PlainCelery
from celery.exceptions import ImproperlyConfigured
from flask import Flask
from kombu.transport import TRANSPORT_ALIASES
from kombu.utils.url import maybe_sanitize_url

from flask_longtask import settings, worker_command
from flask_longtask.celery.app import BACKENDS, Celery, adopt
from flask_longtask.cli import cli
from flask_longtask.current import make_current
from flask_longtask.installed import EXTENSION, Authorize, Identify, Installed
from flask_longtask.page import nanobar
from flask_longtask.settings import DEFAULTS
from flask_longtask.web import clashes, csrf
from flask_longtask.web.openapi import document
from flask_longtask.web.protection import idempotency, token
from flask_longtask.web.protection.protect import protect
from flask_longtask.web.routes import bp
from flask_longtask.web.streams.stream import subscribe

__all__ = ["DEFAULTS", "LongTask"]


for blueprint in (document.bp, token.bp):
    protect(blueprint)


class LongTask:
    """The extension: `LongTask(app)`, or `init_app` for an app factory, with whatever was given before.

    It changes nothing about routes that are not its own; `protect` is for those that start tasks. Its settings are in
    DEFAULTS: each is taken from the app's config, else from the environment.

    `celery` is the Celery app whose tasks these are. Without it one is made from the Flask setting CELERY, a dict of
    Celery's own settings of which `broker_url` and `result_backend` (a Redis) are needed. It is
    `app.extensions["celery"]`, as Flask's documentation has it, unless the app has another there.

    `url_prefix` is the path under which the extension's routes are, such as "/jobs": by default they are at the root.

    `identify` is for an app that knows its users: called in a request without arguments, it returns a str that
    names who is asking, or None. Idempotency keys and the list of one's own tasks are then the user's, whatever
    the browser. Without it they belong to Flask-Login's user where the app has one, else to the browser. The keys of a
    client without a session belong to its address. An address has no list.

    `authorize(task, action)` returns whether who is asking may "read", "cancel" or "list" a task: the status object,
    with what `identify` said when it was started as `owner`. Without it an id is the right to read and to cancel.
    """

    protect = staticmethod(protect)

    def __init__(self, app: Flask | None = None, **options: Any) -> None:
        self._options = _checked(options)
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask, **options: Any) -> Celery:
        """Put the extension into an app. Returns its Celery app. A second call for the same app changes nothing.

        Raises RuntimeError for a second call with other options.

        Raises celery.exceptions.ImproperlyConfigured, which names the setting, for one that is missing or of no use.
        """
        if not isinstance(app, Flask):
            raise TypeError(f"app must be a Flask app, not {type(app).__name__}.")
        given = {**self._options, **_checked(options)}
        if EXTENSION not in app.extensions:
            return _install(app, **given)
        already: Installed = app.extensions[EXTENSION]
        for name, option in given.items():
            if option is not None and option != getattr(already, name):
                raise RuntimeError(
                    f"The app {app.name!r} already has LongTask, with a different {name}."
                )
        return already.celery


def _checked(options: dict[str, Any]) -> dict[str, Any]:
    if unknown := options.keys() - {"url_prefix", "celery", "authorize", "identify"}:
        raise TypeError(f"LongTask has no option {min(unknown)!r}.")
    return options


def _install(
    app: Flask,
    url_prefix: str | None = None,
    celery: PlainCelery | None = None,
    authorize: Authorize | None = None,
    identify: Identify | None = None,
) -> Celery:
    if app.url_map.host_matching:
        raise ImproperlyConfigured("LongTask does not support an app with host_matching.")
    if not isinstance(celery, PlainCelery | None):
        raise TypeError(f"celery must be a Celery app, not {type(celery).__name__}.")
    for name, function in (("authorize", authorize), ("identify", identify)):
        if function is not None and not callable(function):
            raise TypeError(f"{name} must be a function, not {type(function).__name__}.")
    if url_prefix is not None:
        app.config["LONGTASK_URL_PREFIX"] = url_prefix
    settings.load(app)
    requests = idempotency.FlaskRequests()
    celery_app = adopt(_own_celery(app) if celery is None else celery, app, requests)
    prefix = app.config["LONGTASK_URL_PREFIX"]
    app.extensions[EXTENSION] = Installed(
        app, celery_app, subscribe(celery_app), prefix, identify, authorize
    )
    app.extensions.setdefault("celery", celery_app)
    make_current(celery_app, app, is_given=celery is not None)
    clashes.init_app(app)
    csrf.init_app(app)
    blueprints = [bp, document.bp]
    if app.config["LONGTASK_API_TOKEN"]:
        blueprints.append(token.bp)
    for blueprint in blueprints:
        app.register_blueprint(blueprint, url_prefix=prefix or None)
    app.teardown_request(idempotency.end_turn)
    nanobar.init_app(app)
    worker_command.init_app(app)
    if "longtask" not in app.cli.commands:  # one of the app's own goes first
        app.cli.add_command(cli)
    return celery_app


def _own_celery(app: Flask) -> PlainCelery:
    given = app.config.get("CELERY")
    if not isinstance(given, dict):
        raise ImproperlyConfigured(
            "LongTask needs LongTask(app, celery=…), or app.config['CELERY'] as a dict of Celery's settings with "
            f"broker_url and result_backend, not {given!r}."
        )
    for setting, schemes in (("broker_url", TRANSPORT_ALIASES), ("result_backend", BACKENDS)):
        if not given.get(setting):
            raise ImproperlyConfigured(
                f"LongTask needs {setting!r} in app.config['CELERY'], such as 'redis://127.0.0.1/0'."
            )
        urls = given[setting]
        for url in urls if isinstance(urls, list | tuple) else [urls]:
            scheme, is_url, _ = str(url).partition("://")
            if not is_url or scheme not in schemes:
                raise ImproperlyConfigured(
                    f"{setting!r} in app.config['CELERY'] must be a URL such as 'redis://127.0.0.1/0', "
                    f"not {maybe_sanitize_url(url)!r}."
                )
    # `app.name` is right under `python app.py` too, where `__name__` would give tasks a second name.
    made = PlainCelery(app.name, set_as_current=False)
    made.config_from_object(given)
    return made
