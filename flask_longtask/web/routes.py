"""The routes about tasks: status, cancel, lists, health; and the 202 that answers a started task."""

from collections.abc import Mapping, Sequence
from typing import Any

from celery.result import AsyncResult
from flask import Blueprint, Response, current_app, redirect, render_template, request, url_for
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError
from werkzeug.exceptions import Conflict, HTTPException, NotFound
from werkzeug.wrappers import Response as BaseResponse

from flask_longtask.celery.backend import RedisBackend
from flask_longtask.celery.queues import count_waiting
from flask_longtask.json_text import dumps, plain
from flask_longtask.status import ENDED_STATES
from flask_longtask.web import body, browser, idempotency, prefer, stream
from flask_longtask.web.problems import RETRY_AFTER, BadField, prefers, problem, wants_html

#: Seconds between two looks at a task: what `Retry-After` says and the page does.
POLL_SECONDS = 2

#: Tasks one request may ask for.
MOST_IDS = 100

#: What a task is told as.
_KINDS = ("application/json", "text/html", stream.MIMETYPE)

#: Characters that an id may have. Celery takes any text for one, and RabbitMQ no longer one than this.
LONGEST_ID = 255

Headers = Sequence[tuple[str, str]]

bp = Blueprint(
    "longtask",
    "flask_longtask.page",  # whose folders these are
    static_folder="static",
    static_url_path="/longtask/static",
    template_folder="templates",
)
bp.register_error_handler(HTTPException, problem)


def accepted(result: AsyncResult) -> BaseResponse:
    """The answer of a route that has started a task: `return accepted(my_task.delay(…))`.

    202 with the task's address in `Location` and its status object; a browser's plain form post is sent
    there instead (303). Remembers that this browser started it.
    """
    task_id = idempotency.counts(result.id)
    backend = _backend()
    task: dict[str, Any] | None
    if accepted_here := idempotency.just_accepted(task_id):
        task = backend.describe_accepted(task_id, *accepted_here)
    else:
        task = backend.describe([task_id])[task_id]
    if task is None:
        raise RuntimeError("There is no such task: its transaction has not been committed.")
    browser.remember(backend.store, task_id)
    # Absolute, unless the request was for no host that could be one.
    location = url_for("longtask.status", task_id=task_id, _external=bool(request.host))
    if wants_html():
        return redirect(location, 303)
    headers = [("Location", location), ("Retry-After", str(POLL_SECONDS))]
    return _json(task, headers, status=202)


@bp.get("/status/<path:task_id>")
def status(task_id: str) -> Response:
    """One task: as JSON, for a browser as a page, or as a stream of its changes."""
    task = find_task(task_id)
    kind = prefers(*_KINDS)
    if kind == stream.MIMETYPE:
        return stream.stream({task_id: task})
    waited = prefer.wait_for_end(task_id, task)
    if waited is not None:
        task = find_task(task_id)
    headers = [("Vary", "Accept")]
    if _runs(task):
        headers.append(("Retry-After", str(POLL_SECONDS)))
    if waited is not None:
        headers.append(("Preference-Applied", f"wait={waited}"))
    if kind == "text/html":
        return _page("longtask/status.html", headers, running=_runs(task), task=plain(task))
    return _json(task, headers)


@bp.get("/result/<path:task_id>")
def result(task_id: str) -> Response:
    """The result alone, of any size. The status object of a task with a large one has `result_bytes` instead."""
    task = find_task(task_id)
    try:
        text = dumps(_backend().result(task_id)) + b"\n"
    except LookupError:
        raise NotFound(f"The task has no result: it is {task['state']}.") from None
    return Response(text, mimetype="application/json", headers=[("Cache-Control", "no-store")])


@bp.delete("/status/<path:task_id>")
def cancel(task_id: str) -> Response:
    """Cancel a task: it never starts, or stops at its next report, or is terminated."""
    body.read_to_its_end()
    find_task(task_id)
    if not _backend().cancel(task_id):
        raise Conflict("The task has already ended.")
    return _json(find_task(task_id))


@bp.post("/status/<path:task_id>")
def cancel_by_form(task_id: str) -> BaseResponse:
    """The same for a form, which cannot send DELETE; then back to the task's page.

    A task that has ended just before is no error here: the page tells how it ended.
    """
    body.read_to_its_end()
    find_task(task_id)
    _backend().cancel(task_id)
    return redirect(url_for("longtask.status", task_id=task_id), 303)


@bp.get("/status")
def statuses() -> Response:
    """Many tasks at once, so that a page refreshes all its bars by one request, or by one stream."""
    task_ids = request.args.getlist("id")
    if not 1 <= len(task_ids) <= MOST_IDS:
        raise BadField("id", f"must be given 1 to {MOST_IDS} times.")
    if not all(map(_is_id, task_ids)):
        raise BadField("id", f"must have 1 to {LONGEST_ID} characters.")
    if prefers("application/json", stream.MIMETYPE) == stream.MIMETYPE:
        return stream.stream(_backend().describe(task_ids))
    return _json({"tasks": _backend().describe(task_ids)}, [("Vary", "Accept")])


@bp.get("/tasks")
def tasks() -> Response:
    """What this browser has started, newest first, without what has expired; for a browser as a page."""
    known = _backend().describe(browser.started_here(_backend().store))
    started = [task for task in known.values() if task]
    headers = [("Vary", "Accept")]
    if wants_html():
        running, shown = any(map(_runs, started)), [*map(plain, started)]
        return _page("longtask/tasks.html", headers, running=running, tasks=shown)
    return _json({"tasks": started}, headers)


@bp.get("/health")
def health() -> Response:
    """Whether tasks can be taken in and run: for load balancers, operators and the page.

    `warnings` are sentences for an operator, where there is anything to say.

    `workers` is null for some seconds after Redis was away, until they have reported again.
    """
    try:
        present = _backend().store.presence.look()
        if not present.writable:
            return _unhealthy("read-only", "Redis takes no writes: is it full, or a replica?")
        celery = current_app.extensions["celery"]
        waiting = count_waiting(celery)
        warnings = celery.warnings()
    except (RedisError, OperationalError) as error:
        return _unhealthy("down", error)
    workers = len(present.workers) if present.workers or present.complete else None
    document = {"redis": "up", "workers": workers, "waiting": waiting}
    return _json({**document, "warnings": warnings} if warnings else document)


def _unhealthy(redis: str, reason: object) -> Response:
    current_app.logger.warning("Not healthy: %s", reason)
    document = {"redis": redis, "workers": None, "waiting": None}
    return _json(document, [("Retry-After", str(RETRY_AFTER))], status=503)


def _backend() -> RedisBackend:
    backend: RedisBackend = current_app.extensions["celery"].backend
    return backend


def find_task(task_id: str) -> dict[str, Any]:
    """The status object of a task. Raises NotFound if there is no such task."""
    # Redis is not asked about what cannot be a task's id.
    task = _backend().describe([task_id])[task_id] if _is_id(task_id) else None
    if task is None:
        raise NotFound("There is no such task: it was never submitted, or its result has expired.")
    return task


def _is_id(text: str) -> bool:
    return 1 <= len(text) <= LONGEST_ID


def _runs(task: Mapping[str, Any]) -> bool:
    return task["state"] not in ENDED_STATES


def _page(template: str, headers: Headers = (), **values: Any) -> Response:
    page = render_template(template, poll_seconds=POLL_SECONDS, **values)
    return Response(page, headers=[("Cache-Control", "no-store"), *headers])


def _json(document: Mapping[str, Any] | None, headers: Headers = (), status: int = 200) -> Response:
    text = dumps(document) + b"\n"  # for those who read it in a terminal
    headers = [("Content-Type", "application/json"), ("Cache-Control", "no-store"), *headers]
    return Response(text, status, headers)
