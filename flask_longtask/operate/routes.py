"""The routes of the operators' page: the page, its data, and what an operator does with a task."""

from typing import Any

from flask import Blueprint, Response, current_app, redirect, render_template, request, url_for
from werkzeug.exceptions import Conflict, NotFound
from werkzeug.wrappers import Response as BaseResponse

from flask_longtask.celery.backend import RedisBackend
from flask_longtask.installed import installed
from flask_longtask.json_text import dumps, plain
from flask_longtask.operate import access
from flask_longtask.operate.filters import STATES, Filters, filters
from flask_longtask.operate.overview import overview
from flask_longtask.operate.search import phase_of, search
from flask_longtask.web import body
from flask_longtask.web.problems import RETRY_AFTER, asking_the_store, wants_html
from flask_longtask.web.protection import token
from flask_longtask.web.routes import find_task, start_again

#: Seconds until the page is loaded again without JavaScript. There must be time to fill in its filters.
RELOAD_SECONDS = 10

#: The fields of the query string that are kept from page to page.
_KEPT = ("state", "task", "queue", "words")

bp = Blueprint("longtask_operate", __name__)
bp.before_request(access.check_access)


@bp.get("/operate")
def page() -> Response:
    """Answer the page. With JavaScript, it refreshes itself by `tasks`."""
    asked = filters()
    html = render_template(
        "longtask/operate/page.html",
        shown=plain(_look(asked)),
        kept=_kept(),
        cursor=request.args.get("cursor"),
        are_filtered=asked.are_set,
        choices=STATES,
        task_names=_task_names(),
        phase_of=phase_of,
        running=True,
        poll_seconds=RELOAD_SECONDS,
    )
    return Response(html, headers=[("Cache-Control", "no-store")])


@bp.get("/operate/tasks")
def tasks() -> Response:
    """Answer all that the page shows, as JSON: `tasks`, `next`, `workers`, `queues` and `counts`."""
    return _json(_look(filters()))


@bp.delete("/operate/status/<longtask_id:task_id>")
def cancel(task_id: str) -> Response:
    """Cancel a task, whoever has started it."""
    if not _cancel(task_id):
        raise Conflict("The task has already ended.")
    return _json(find_task(task_id))


@bp.post("/operate/status/<longtask_id:task_id>")
def cancel_by_form(task_id: str) -> BaseResponse:
    """Cancel a task for a form, and redirect to the page with the same filters."""
    _cancel(task_id)
    return redirect(_address_of_page(), 303)


@bp.post("/operate/status/<longtask_id:task_id>/restart")
def restart(task_id: str) -> BaseResponse:
    """Start a task again that has failed or was cancelled. A form is redirected to the page of the new task."""
    body.read_to_its_end()
    task = find_task(task_id)
    access.require(task, "restart")
    new_id = start_again(task).id
    location = url_for("longtask.status", task_id=new_id)
    if wants_html():
        return redirect(location, 303)
    response = _json(find_task(new_id))
    response.status_code = 202
    response.location = location
    return response


@bp.post("/operate/session")
def give() -> BaseResponse:
    """Take the token from an operator. It is valid until the browser is closed."""
    if not access.OPERATOR.is_set:
        raise NotFound
    access.OPERATOR.check(token.given_token(access.OPERATOR))
    if not current_app.secret_key:  # there are no sessions
        raise token.TokenMissing(access.OPERATOR)
    access.OPERATOR.keep()
    return token.given(url_for("longtask_operate.page"))


@bp.after_request
def come_back(response: Response) -> Response:
    """Let a browser that was told of an outage load the page again by itself."""
    if response.status_code == 503 and request.method == "GET":
        response.headers["Refresh"] = response.headers.get("Retry-After", str(RETRY_AFTER))
    return response


@asking_the_store
def _cancel(task_id: str) -> bool:
    body.read_to_its_end()
    access.require(find_task(task_id), "cancel")
    return _backend().cancel(task_id)


@asking_the_store
def _look(asked: Filters) -> dict[str, Any]:
    backend = _backend()
    found = search(backend, asked)
    following = str(found.after) if found.after else None
    return {"tasks": found.tasks, "next": following, **overview(backend)}


def _kept() -> dict[str, Any]:
    return {name: value for name in _KEPT if (value := request.args.get(name, "").strip())}


def _address_of_page() -> str:
    values = _kept()
    if cursor := request.args.get("cursor"):
        values["cursor"] = cursor
    return url_for("longtask_operate.page", **values)


def _task_names() -> list[str]:
    """Return the short names of the tasks that this process knows, to choose from."""
    names = [name for name in installed().celery.tasks if not name.startswith("celery.")]
    return sorted({name.rpartition(".")[2] for name in names})


def _backend() -> RedisBackend:
    return installed().celery.backend


def _json(document: dict[str, Any]) -> Response:
    headers = [("Content-Type", "application/json"), ("Cache-Control", "no-store")]
    return Response(dumps(document) + b"\n", headers=headers)
