"""The extension object `LongTask`, which installs all parts in an app. Each part has a module of its own."""

from typing import Any

from celery import Celery as PlainCelery
from celery.exceptions import ImproperlyConfigured
from flask import Flask
from kombu.transport import TRANSPORT_ALIASES
from kombu.utils.url import maybe_sanitize_url
from werkzeug.exceptions import HTTPException, default_exceptions

from flask_longtask import settings, worker_command
from flask_longtask.celery.app import BACKENDS, Celery, adopt
from flask_longtask.cli import cli
from flask_longtask.current import make_current
from flask_longtask.installed import EXTENSION, Authorize, Identify, Installed
from flask_longtask.operate import access
from flask_longtask.operate import routes as operate
from flask_longtask.page import nanobar
from flask_longtask.settings import DEFAULTS
from flask_longtask.web import clashes, csrf
from flask_longtask.web.openapi import document
from flask_longtask.web.problems import problem
from flask_longtask.web.protection import idempotency, token
from flask_longtask.web.protection.protect import protect
from flask_longtask.web.routes import bp
from flask_longtask.web.streams.stream import subscribe

__all__ = ["DEFAULTS", "LongTask"]


for blueprint in (bp, document.bp, operate.bp, token.bp):
    protect(blueprint)
    blueprint.register_error_handler(HTTPException, problem)
    # For each code, too: Flask looks for a handler of the code first, and would find the app's own.
    for code in default_exceptions:
        blueprint.register_error_handler(code, problem)


class LongTask:
    """The extension: `LongTask(app)`, or `LongTask(...)` and `init_app(app)` with an app factory.

    It changes nothing about the app's own routes; decorate those that start tasks with `protect`. DEFAULTS lists its
    settings: each is taken from the app's config, else from the environment.

    `celery` is the Celery app that has the tasks. By default the extension makes one from the Flask setting CELERY, a
    dict of Celery's settings, in which `broker_url` and `result_backend` (a Redis) are required. The Celery app is
    stored as `app.extensions["celery"]`, as in Flask's documentation, unless the app has already stored another there.

    `url_prefix` is the path under which the extension's routes are, such as "/jobs". By default they are at the root.

    `identify` is for an app that knows its users: called without arguments during a request, it returns a str that
    names the user, or None. Idempotency keys and the list of tasks then belong to the user, in whatever browser.
    Without `identify` they belong to Flask-Login's user if the app has one, else to the browser. The keys of a client
    without a session belong to its address. An address has no list of tasks. `identify` may be an async function, but
    not if async views start tasks.

    `authorize(task, action)` returns whether the user may "read", "cancel", "restart" or "list" a task. `task` is the
    status object with one more key, `owner`: the user who started the task, or None. Without `authorize`, whoever
    knows the id of a task may read it, cancel it and start it again. With the action "operate", `task` is no task (its
    values are None, and nobody owns it), and the answer is whether the user may open the operators' page.
    """

    protect = staticmethod(protect)

    def __init__(
        self,
        app: Flask | None = None,
        *,
        url_prefix: str | None = None,
        celery: PlainCelery | None = None,
        authorize: Authorize | None = None,
        identify: Identify | None = None,
    ) -> None:
        self._options = _given(
            url_prefix=url_prefix, celery=celery, authorize=authorize, identify=identify
        )
        if app is not None:
            self.init_app(app)

    def init_app(
        self,
        app: Flask,
        *,
        url_prefix: str | None = None,
        celery: PlainCelery | None = None,
        authorize: Authorize | None = None,
        identify: Identify | None = None,
    ) -> Celery:
        """Install the extension in an app, and return its Celery app. A second call for the same app changes nothing.

        Raises RuntimeError for a second call with other options, and celery.exceptions.ImproperlyConfigured, which
        names the setting, if a setting is missing or invalid.
        """
        if not isinstance(app, Flask):
            raise TypeError(f"app must be a Flask app, not {type(app).__name__}.")
        options = self._options | _given(
            url_prefix=url_prefix, celery=celery, authorize=authorize, identify=identify
        )
        if EXTENSION not in app.extensions:
            return _install(app, **options)
        already: Installed = app.extensions[EXTENSION]
        for name, option in options.items():
            if option != getattr(already, name):
                raise RuntimeError(
                    f"The app {app.name!r} already has LongTask, with a different {name}."
                )
        return already.celery


def _given(**options: Any) -> dict[str, Any]:
    """Return the options without those that are None."""
    return {name: option for name, option in options.items() if option is not None}


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
    here = Installed(app, celery_app, subscribe(celery_app), prefix, identify, authorize)
    app.extensions[EXTENSION] = here
    app.extensions.setdefault("celery", celery_app)
    make_current(celery_app, app, is_given=celery is not None)
    clashes.init_app(app)
    csrf.init_app(app)
    blueprints = [bp, document.bp]
    if app.config["LONGTASK_API_TOKEN"]:
        blueprints.append(token.bp)
    if access.may_open(app, here):
        blueprints.append(operate.bp)
    for blueprint in blueprints:
        app.register_blueprint(blueprint, url_prefix=prefix or None)
    app.teardown_request(idempotency.end_request)
    nanobar.init_app(app)
    worker_command.init_app(app)
    if "longtask" not in app.cli.commands:  # a command of the app's own takes precedence
        app.cli.add_command(cli)
    return celery_app


def _own_celery(app: Flask) -> PlainCelery:
    given = app.config.get("CELERY")
    if not isinstance(given, dict):
        raise ImproperlyConfigured(
            "Without LongTask(app, celery=…), app.config['CELERY'] must be a dict of Celery's settings with broker_url "
            f"and result_backend, not {given!r}."
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
    # With `python app.py`, `__name__` is `__main__`, which would give tasks a second name; `app.name` is right.
    made = PlainCelery(app.name, set_as_current=False)
    made.config_from_object(given)
    return made
