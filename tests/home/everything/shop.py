"""The app itself, without LongTask, or with LongTask added before or after its routes."""

import os
from typing import Any

import celery
from celery import shared_task
from flask import Flask, abort, jsonify, render_template_string, request, session
from flask_login import (
    LoginManager,
    UserMixin,
    current_user,
    login_required,
    login_user,
    logout_user,
)
from flask_wtf.csrf import CSRFError, CSRFProtect, generate_csrf
from kombu.exceptions import OperationalError
from redis import Redis
from redis.exceptions import RedisError
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response

from flask_longtask import LongTask

PAGE = """<!doctype html>
<title>{{ title }}</title>
<p>{{ nanobar|default("no nanobar") }}, {{ longtask|default("no longtask") }}, {{ visitor }}</p>
"""

Answer = Response | str | dict[str, Any] | tuple[Any, ...]


class User(UserMixin):  # type: ignore[misc]  # Flask-Login has no types
    def __init__(self, name: str) -> None:
        self.id = name


@shared_task(name="send_letter")
def send_letter(to: str) -> str:
    return to


def make_celery(url: str) -> celery.Celery:
    """Create the app's own Celery app."""
    own = celery.Celery("shop", broker=url, backend=url)
    own.conf.task_default_queue = "letters"
    own.set_default()
    return own


def make_app(longtask: str, handlers: bool = True) -> Flask:
    """Create the app.

    Parameters:
        longtask: `without`; `first` or `last`, before or after the app's routes; `adopting` the app's Celery app; or
            `with a login` that only Flask-Login knows.
        handlers: whether the app has its own error handlers.
    """
    url = os.environ["REDIS_URL"]
    app = Flask("shop")
    app.config.update(
        SECRET_KEY="shop",
        PROPAGATE_EXCEPTIONS=False,
        WTF_CSRF_SSL_STRICT=False,
        CELERY={"broker_url": os.environ["LONGTASK_REDIS_URL"]}
        | {"result_backend": os.environ["LONGTASK_REDIS_URL"]},
    )
    app.extensions["celery"] = make_celery(url)
    if longtask == "first":
        LongTask(app)
    csrf = CSRFProtect(app)
    add_login(app)
    add_pages(app)
    add_addresses_that_longtask_has_too(app)
    add_callbacks(app, csrf)
    add_orders(app)
    add_letters(app, url)
    add_errors(app)
    if handlers:
        add_error_handlers(app)
    if longtask == "last":
        LongTask(app)
    if longtask == "adopting":
        add_longtask_to_its_own_celery(app)
    if longtask == "with a login":
        LongTask(app, url_prefix="/jobs", celery=app.extensions["celery"])
    return app


def who_asks() -> str | None:
    return current_user.get_id()


def may(task: dict[str, Any], action: str) -> bool:
    """Let users access their own tasks, and the boss read all tasks."""
    return task["owner"] == who_asks() or (who_asks() == "boss" and action == "read")


def add_longtask_to_its_own_celery(app: Flask) -> None:
    own = app.extensions["celery"]
    LongTask(app, url_prefix="/jobs", celery=own, authorize=may, identify=who_asks)


def add_login(app: Flask) -> None:
    login = LoginManager(app)
    login.user_loader(User)

    @app.post("/login")
    def log_in() -> Answer:
        login_user(User(request.form["name"]), remember=True)
        return "Hello\n"

    @app.post("/logout")
    @login_required
    def log_out() -> Answer:
        logout_user()
        return "Goodbye\n"

    @app.get("/token")
    def token() -> Answer:
        return generate_csrf()

    @app.get("/me")
    @login_required
    def me() -> Answer:
        return {"name": current_user.get_id()}


def add_pages(app: Flask) -> None:
    @app.before_request
    def count_visits() -> None:
        if request.endpoint == "index":
            session["visits"] = session.get("visits", 0) + 1

    @app.after_request
    def tell_who_answered(response: Response) -> Response:
        response.headers["X-Endpoint"] = str(request.endpoint)
        return response

    @app.get("/")
    def index() -> Answer:
        return render_template_string(PAGE, title="Shop", visitor=current_user.get_id())

    @app.get("/named")
    def named() -> Answer:
        return render_template_string(PAGE, title="Shop", nanobar="chocolate", longtask="queueing")

    @app.context_processor
    def visitor() -> dict[str, str]:
        return {"visitor": f"visit {session.get('visits')}"}

    @app.get("/cookies")
    def cookies() -> Response:
        response = jsonify(sorted(request.cookies))
        response.set_cookie("longtask", "of the shop's own", max_age=60, samesite="Lax")
        return response


def add_addresses_that_longtask_has_too(app: Flask) -> None:
    @app.get("/status")
    def status() -> Answer:
        return {"shop": "open"}

    @app.get("/status/<order>")
    def status_of(order: str) -> Answer:
        return {"order": order, "sent": False}

    @app.get("/tasks")
    def tasks() -> Answer:
        return ["sweep the floor"], 200

    @app.post("/tasks")
    def add_task() -> Answer:
        return {"task": request.form.get("task")}, 201

    @app.get("/health")
    def health() -> Answer:
        return "fine\n"

    @app.get("/session")
    def own_session() -> Answer:
        return {"visits": session.get("visits")}


def add_callbacks(app: Flask, csrf: CSRFProtect) -> None:
    """Add routes to which other sites' pages send requests."""

    @app.post("/saml/acs")
    @csrf.exempt
    def saml() -> Answer:
        return {"assertion": request.form["SAMLResponse"], "from": request.headers.get("Origin")}

    @app.route("/payments/callback", methods=["POST", "PUT", "DELETE"])
    @csrf.exempt
    def paid() -> Answer:
        return {"paid": request.get_json(silent=True), "by": request.method}


def add_orders(app: Flask) -> None:
    """Add a route that uses Idempotency-Key for its own purpose: any text, separate for each account."""
    orders: dict[tuple[str | None, str], int] = {}

    @app.post("/orders")
    def order() -> Answer:
        owner = (current_user.get_id(), request.headers["Idempotency-Key"])
        number = orders.setdefault(owner, len(orders) + 1)
        return {"order": number, "key": owner[1], "account": owner[0]}, 201


def add_letters(app: Flask, url: str) -> None:
    """Add routes for tasks of the app's own Celery app, which LongTask does not use."""

    @app.post("/letters/<letter>")
    def send(letter: str) -> Answer:
        result = send_letter.apply_async([letter], task_id=letter)
        return {"id": result.id, "state": result.state, "kind": type(result).__name__}

    @app.get("/letters")
    def letters() -> Answer:
        with Redis.from_url(url) as redis:
            keys = sorted(key.decode() for key in redis.scan_iter("*"))
            return {"keys": keys, "waiting": redis.llen("letters")}

    @app.get("/celery")
    def which_celery() -> Answer:
        own = app.extensions["celery"]
        return {
            "extension": own.main,
            "current": celery.current_app.main,
            "of a shared task": send_letter.app.main,
            "class": f"{type(own).__module__}.{type(own).__name__}",
            "task's class": [base.__module__ for base in type(own.tasks["send_letter"]).__mro__],
            "settings": {name: repr(own.conf[name]) for name in sorted(own.conf) if "_" in name},
        }

    @app.get("/config")
    def config() -> Answer:
        names = [name for name in app.config if not name.startswith("LONGTASK_")]
        return {name: repr(app.config[name]) for name in sorted(names)}


def add_errors(app: Flask) -> None:
    @app.get("/cache")
    def cache() -> Answer:
        raise RedisError("the shop's cache is away")

    @app.get("/queue")
    def queue() -> Answer:
        raise OperationalError("the shop's queue is away")

    @app.get("/teapot")
    def teapot() -> Answer:
        abort(418)

    @app.post("/form")
    def form() -> Answer:
        return {"field": request.form["field"]}

    @app.get("/broken")
    def broken() -> Answer:
        raise RuntimeError("broken")


def add_error_handlers(app: Flask) -> None:
    @app.errorhandler(RedisError)
    def on_redis(error: RedisError) -> Answer:
        return f"cache: {error}\n", 502

    @app.errorhandler(OperationalError)
    def on_queue(error: OperationalError) -> Answer:
        return f"queue: {error}\n", 504

    @app.errorhandler(CSRFError)
    def on_csrf(error: CSRFError) -> Answer:
        return f"csrf: {error.description}\n", 400

    @app.errorhandler(404)
    def on_missing(error: HTTPException) -> Answer:
        return f"The shop has no {request.path}\n", 404

    @app.errorhandler(HTTPException)
    def on_http(error: HTTPException) -> Answer:
        return f"{error.code}\n", error.code
