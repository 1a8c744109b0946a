"""The app: `gunicorn tests.page.site:app`. It is served at the root and under /mounted."""

import json
import os
from pathlib import Path
from uuid import uuid4

from celery import chain, group
from flask import Flask, render_template, request
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.wrappers import Response

from flask_longtask import LongTask, accepted, integer, seconds
from tests import tasks
from tests.processes import ROOT

GERMAN = json.loads((Path(__file__).parent / "german.json").read_text())
NONCE = "bm9uY2U"

app = Flask(__name__, static_folder=str(ROOT / "static"))
app.config["CELERY"] = {
    "broker_url": os.environ["REDIS_URL"],
    "result_backend": os.environ["REDIS_URL"],
}
app.config["SECRET_KEY"] = os.environ.get("SECRET_KEY")
app.config["LONGTASK_STRINGS"] = lambda: (
    GERMAN if request.accept_languages.best_match(["en", "de"]) == "de" else {}
)
longtask = LongTask(app, url_prefix=os.environ.get("URL_PREFIX"))
app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/mounted": app.wsgi_app})  # type: ignore[method-assign]


@app.get("/")
def index() -> str:
    return render_template("forms.html")


@app.get("/own-lists")
def own_lists() -> str:
    return render_template("own_lists.html")


@app.get("/bare/<path:task_id>")
def bare(task_id: str) -> tuple[str, dict[str, str]]:
    """A page with one bar and no form. Its policy allows only scripts of this site, or only those with a nonce."""
    nonce = NONCE if "nonce" in request.args else None
    source = f"'nonce-{nonce}'" if nonce else "'self'"
    policy = f"default-src 'none'; script-src {source}; style-src {source}; connect-src 'self'"
    nanobar = "nanobar" in request.args
    page = render_template("bare.html", task_id=task_id, nonce=nonce, nanobar=nanobar)
    return page, {"Content-Security-Policy": policy}


@app.post("/start")
@longtask.protect
def start() -> Response:
    steps = integer("steps", default=1, minimum=1, maximum=1000)
    return accepted(tasks.stepping.delay(steps, seconds("pause", default=0.05, maximum=60)))


@app.post("/later")
def later() -> Response:
    return accepted(tasks.stepping.apply_async((1, 0), countdown=600))


@app.post("/fail")
def fail() -> Response:
    return accepted(tasks.failing.delay())


@app.post("/group")
def start_group() -> Response:
    return accepted(group(tasks.stepping.s(1000, 0.05) for _ in range(3)).apply_async())


@app.post("/held")
def start_held() -> Response:
    """Start a family that fails at once, with a part that goes on and one that no worker takes up."""
    slow = tasks.stepping.si(1000, 0.05)
    unserved = tasks.stepping.si(1, 0).set(queue="unserved-page")
    return accepted(group(tasks.failing.si(), slow, unserved).apply_async())


@app.post("/wide")
def start_wide() -> Response:
    """Start a family of 60 parts, of which one fails at once."""
    parts = [tasks.failing.si(), *(tasks.stepping.si(20, 0.01) for _ in range(59))]
    return accepted(group(parts).apply_async())


@app.post("/chain")
def start_chain() -> Response:
    return accepted(chain(tasks.stepping.si(1, 0), tasks.stepping.si(1000, 0.05)).apply_async())


@app.post("/broken")
def start_broken() -> Response:
    """Start a chain whose second step fails."""
    steps = [tasks.returning.si("four"), tasks.failing.si(), tasks.stepping.si(1, 0)]
    return accepted(chain(*steps).apply_async())


@app.post("/odd")
def odd() -> Response:
    """Start a task whose id must be quoted in an address."""
    return accepted(tasks.stepping.apply_async((1000, 0.05), task_id=f"ä/../{uuid4()}?"))


@app.post("/classic")
def classic() -> tuple[str, int, dict[str, str]]:
    """Respond as in the classic tutorial, with only the address of the task."""
    answer = accepted(tasks.stepping.delay(1000, 0.05))
    return "{}", 202, {"Location": answer.headers["Location"]}


if os.environ.get("URL_PREFIX"):
    app.get("/health")(lambda: "The app's own.")
