"""The routes about tasks (status, result, cancel, lists, health), and `accepted`, the answer of a start route."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from celery.result import AsyncResult, EagerResult, GroupResult
from flask import Blueprint, Response, current_app, redirect, render_template, request, url_for
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError
from werkzeug.exceptions import Conflict, NotFound
from werkzeug.wrappers import Response as BaseResponse

from flask_longtask.celery.backend import RedisBackend
from flask_longtask.celery.broker.queues import count_waiting
from flask_longtask.celery.sending import LONGEST_ID
from flask_longtask.installed import installed
from flask_longtask.json_text import dumps, plain
from flask_longtask.status import ENDED_STATES
from flask_longtask.web import body, browser, clashes, ids, permission
from flask_longtask.web.problems import (
    RETRY_AFTER,
    BadField,
    asking_the_store,
    prefers,
    wants_html,
)
from flask_longtask.web.protection import idempotency
from flask_longtask.web.streams import prefer, stream

#: Seconds between two polls of a task: the value of `Retry-After`, and the interval of the pages.
POLL_SECONDS = 2

#: The most tasks that one request may ask for.
MOST_IDS = 100

#: The media types of a status.
_KINDS = ("application/json", "text/html", stream.MIMETYPE)

Headers = Sequence[tuple[str, str]]

bp = Blueprint(
    "longtask",
    "flask_longtask.page",  # the package with the static files and templates
    static_folder="static",
    static_url_path="/longtask/static",
    template_folder="templates",
)
bp.record_once(lambda state: state.app.url_map.converters.update(longtask_id=ids.TaskIdConverter))


def accepted(result: AsyncResult | GroupResult) -> BaseResponse:
    """Return the answer of a route that has started a task: `return accepted(my_task.delay(…))`.

    The answer is 202 with the task's address in `Location` and its status object as the body; the plain form of a
    browser is redirected to that address instead (303). The task is added to the list of this user or browser.

    For a group, chunks, or a chain that ends in a group, `Location` is the address of all of its tasks, and the body
    is `{"tasks": {"<id>": status object}}`.

    Raises TypeError if `result` is not an AsyncResult or GroupResult, as `delay` and `apply_async` return, ValueError
    for a group of no tasks, and RuntimeError for a task that this extension has no record of.
    """
    if isinstance(result, GroupResult):
        return _accepted_group(result)
    if not isinstance(result, AsyncResult):
        raise TypeError(
            f"accepted() takes what delay() returns, an AsyncResult or a GroupResult, "
            f"not {type(result).__name__}."
        )
    task = _started(result)
    location = _address("longtask.status", task_id=task["task_id"])
    return _accepted(task, location, page=location)


def _accepted_group(result: GroupResult) -> BaseResponse:
    tasks = [_started(part) for part in _parts(result)]
    if not tasks:
        raise ValueError("accepted() was given a group of no tasks, so there is nothing to follow.")
    by_id = {task["task_id"]: task for task in tasks}
    location = _address("longtask.statuses", id=[*by_id][:MOST_IDS])
    return _accepted({"tasks": by_id}, location, page=_address("longtask.tasks"))


def _accepted(document: Mapping[str, Any], location: str, page: str) -> BaseResponse:
    if wants_html():
        return redirect(page, 303)
    headers = [("Location", location), ("Retry-After", str(POLL_SECONDS))]
    return _json(document, headers, status=202)


def _parts(result: GroupResult) -> Iterator[AsyncResult]:
    for part in result.results:
        if isinstance(part, GroupResult):
            yield from _parts(part)
        else:
            yield part


def _started(result: AsyncResult) -> dict[str, Any]:
    """Return the status object of a task that was started, and add the task to the list of its user or browser."""
    ours = installed().celery
    if result.app not in (None, ours):
        raise RuntimeError(
            f"The task was sent by the Celery app {result.app.main!r}, not by this Flask app's Celery app. "
            "To use a Celery app of your own, pass it: LongTask(app, celery=…)."
        )
    if isinstance(result, EagerResult) and not ours.conf.task_always_eager:
        raise RuntimeError(
            "The task was run with apply(), which records nothing. Start it with delay()."
        )
    address = url_for("longtask.status", task_id=result.id, _external=False)
    if clashes.app_answers(address.removeprefix(request.script_root)):
        raise RuntimeError(
            "The app has its own route at /status/<id>, so LongTask cannot show progress there. "
            'Set a prefix: LongTask(app, url_prefix="/jobs").'
        )
    task_id, backend = idempotency.counts(result.id), ours.backend
    task: dict[str, Any] | None
    if accepted_here := idempotency.just_accepted(task_id):
        task = asking_the_store(backend.describe_accepted)(task_id, *accepted_here)
    else:
        task = _describe([task_id])[task_id]
    if task is None:
        raise RuntimeError(
            f"Task {task_id} was not recorded: its transaction has not been committed, or it was not sent."
        )
    browser.remember(backend.store, task_id)
    return task


def _address(endpoint: str, **values: Any) -> str:
    # Absolute, unless the request has no valid host.
    return url_for(endpoint, **values, _external=bool(request.host))


@bp.get("/status/<longtask_id:task_id>")
def status(task_id: str) -> Response:
    """Answer the status of a task: as JSON, as a page for a browser, or as a stream of its changes."""
    task = _find(task_id)
    kind = prefers(*_KINDS)
    if kind == stream.MIMETYPE:
        return stream.stream({task_id: task})
    waited = prefer.wait_for_end(task_id, task)
    if waited is not None:
        task = _find(task_id)
    headers = [("Vary", "Accept")]
    if _runs(task):
        headers.append(("Retry-After", str(POLL_SECONDS)))
    if waited is not None:
        headers.append(("Preference-Applied", f"wait={waited}"))
    if kind == "text/html":
        return _page("longtask/status.html", headers, running=_runs(task), task=plain(task))
    return _json(task, headers)


@bp.get("/result/<longtask_id:task_id>")
def result(task_id: str) -> Response:
    """Answer the result of a task, of any size. The status object omits a large result and has `result_bytes`."""
    task = _find(task_id)
    try:
        text = dumps(_backend().result(task_id)) + b"\n"
    except LookupError:
        raise NotFound(f"The task has no result: its state is {task['state']}.") from None
    return Response(text, mimetype="application/json", headers=[("Cache-Control", "no-store")])


@bp.delete("/status/<longtask_id:task_id>")
def cancel(task_id: str) -> Response:
    """Cancel a task: it never starts, stops at its next report, or is terminated."""
    body.read_to_its_end()
    _find(task_id, "cancel")
    if not _backend().cancel(task_id):
        raise Conflict("The task has already ended.")
    return _json(find_task(task_id))


@bp.post("/status/<longtask_id:task_id>")
def cancel_by_form(task_id: str) -> BaseResponse:
    """Cancel a task for a form, which cannot send DELETE, and redirect to the task's page.

    A task that has already ended is not an error here: the page shows how it ended.
    """
    body.read_to_its_end()
    _find(task_id, "cancel")
    _backend().cancel(task_id)
    return redirect(url_for("longtask.status", task_id=task_id), 303)


@bp.get("/status")
def statuses() -> Response:
    """Answer the statuses of many tasks, so that a page refreshes all its bars with one request, or one stream."""
    task_ids = request.args.getlist("id")
    if not 1 <= len(task_ids) <= MOST_IDS:
        raise BadField("id", f"must be given 1 to {MOST_IDS} times.")
    if not all(map(ids.is_id, task_ids)):
        raise BadField("id", f"must have 1 to {LONGEST_ID} characters.")
    statuses = permission.permitted(_describe(task_ids), "read")
    if prefers("application/json", stream.MIMETYPE) == stream.MIMETYPE:
        return stream.stream(statuses)
    return _json({"tasks": statuses}, [("Vary", "Accept")])


@bp.get("/tasks")
def tasks() -> Response:
    """Answer the tasks that this user or browser has started and that have not expired, newest first."""
    started_here = browser.started_here(_backend().store)
    known = permission.permitted(_describe(started_here), "list")
    started = [task for task in known.values() if task]
    headers = [("Vary", "Accept")]
    if wants_html():
        running, shown = any(map(_runs, started)), [*map(plain, started)]
        return _page("longtask/tasks.html", headers, running=running, tasks=shown)
    return _json({"tasks": started}, headers)


@bp.get("/health")
def health() -> Response:
    """Answer whether tasks can be accepted and run: for load balancers, operators and the page.

    `warnings`, a list of sentences for an operator, is there only if there are any.

    `workers` is null for some seconds after Redis was away, until the workers have reported again.
    """
    try:
        present = _backend().store.presence.look()
        if not present.writable:
            return _unhealthy(
                "read-only", "Redis does not accept writes: it is full, a replica, or cannot save."
            )
        waiting = count_waiting(installed().celery)
        warnings = installed().celery.warnings()
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
    return installed().celery.backend


@asking_the_store
def _describe(task_ids: Sequence[str]) -> dict[str, dict[str, Any] | None]:
    return _backend().describe(task_ids)


def _find(task_id: str, *actions: str) -> dict[str, Any]:
    """Return the status object of a task. Raises NotFound, or Forbidden unless reading and these are permitted."""
    task = find_task(task_id)
    permission.require(task, "read", *actions)
    return task


def find_task(task_id: str) -> dict[str, Any]:
    """Return the status object of a task, for a route of the app's own.

    Raises NotFound if there is no such task, and StoreAway if Redis does not answer. It does not call `authorize`: the
    route decides who may read the task.
    """
    # A text that cannot be an id is not looked up.
    task = _describe([task_id])[task_id] if ids.is_id(task_id) else None
    if task is None:
        raise NotFound("There is no such task: it was never submitted, or its result has expired.")
    return task


def _runs(task: Mapping[str, Any]) -> bool:
    return task["state"] not in ENDED_STATES


def _page(template: str, headers: Headers = (), **values: Any) -> Response:
    page = render_template(template, poll_seconds=POLL_SECONDS, **values)
    return Response(page, headers=[("Cache-Control", "no-store"), *headers])


def _json(document: Mapping[str, Any] | None, headers: Headers = (), status: int = 200) -> Response:
    text = dumps(document) + b"\n"  # for people who read it in a terminal
    headers = [("Content-Type", "application/json"), ("Cache-Control", "no-store"), *headers]
    return Response(text, status, headers)
