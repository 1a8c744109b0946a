"""The routes about tasks (status, result, cancel, lists, health), and `accepted`, the answer of a start route."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from celery import states
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
from flask_longtask.web.owner import user
from flask_longtask.web.problems import (
    RETRY_AFTER,
    BadField,
    asking_the_store,
    prefers,
    wants_html,
)
from flask_longtask.web.protection import idempotency
from flask_longtask.web.streams import prefer, stream
from flask_longtask.web.streams.history import stream_history

#: Seconds between two polls of a task: the value of `Retry-After`, and the interval of the pages.
POLL_SECONDS = 2

#: The most tasks that one request may ask for.
MOST_IDS = 100

#: The number of a line in a history; no task has logged as many lines as the greatest.
_NUMBER = re.compile(r"[0-9]{1,15}")

_NO_TASK = "There is no such task: it was never started, or it ended long ago and was deleted."

#: How many parts of a family one request answers.
PARTS_AT_ONCE = 50

_CURSOR = re.compile(r"[0-9]{1,12}", re.ASCII)

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

    A group, chunks, a chain or a chord is one family, with one address and one bar.

    Raises TypeError if `result` is not an AsyncResult or GroupResult, as `delay` and `apply_async` return, ValueError
    for a group of no tasks, and RuntimeError for a task that this extension has no record of.
    """
    if not isinstance(result, AsyncResult | GroupResult):
        raise TypeError(
            f"accepted() takes what delay() returns, an AsyncResult or a GroupResult, "
            f"not {type(result).__name__}."
        )
    results = [*_results_in(result)]
    _check_address(result.id)
    is_family = isinstance(result, GroupResult) or result.parent is not None
    task = _family(result, results) if is_family else _task(result)
    browser.remember(_backend().store, task["task_id"])
    location = _address("longtask.status", task_id=task["task_id"])
    if wants_html():
        return redirect(location, 303)
    headers = [("Location", location), ("Retry-After", str(POLL_SECONDS))]
    return _json(task, headers, status=202)


def _check_address(task_id: str) -> None:
    if not clashes.are_possible():
        return
    address = url_for("longtask.status", task_id=task_id, _external=False)
    if clashes.app_answers(address.removeprefix(request.script_root)):
        raise RuntimeError(
            "The app has its own route at /status/<id>, so LongTask cannot show progress there. "
            'Set a prefix: LongTask(app, url_prefix="/jobs").'
        )


def _results_in(result: AsyncResult | GroupResult | None) -> Iterator[AsyncResult | GroupResult]:
    """Yield a result and those that belong to it, in the order in which their tasks run."""
    steps = []
    while result is not None:  # a chain may have more steps than Python has levels of calls
        steps.append(result)
        result = result.parent
    for step in reversed(steps):
        if isinstance(step, GroupResult):
            for part in step.results:
                yield from _results_in(part)
        else:
            _check_sender(step)
        yield step


def _check_sender(result: AsyncResult) -> None:
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


def _task(result: AsyncResult) -> dict[str, Any]:
    """Return the status object of a task that was started."""
    task_id = idempotency.counts(result.id)
    task: dict[str, Any] | None
    if accepted_here := idempotency.just_accepted(task_id):
        task = asking_the_store(_backend().describe_accepted)(task_id, *accepted_here)
    else:
        task = _describe([task_id])[task_id]
    if task is None:
        raise _not_recorded(task_id)
    return task


def _family(
    result: AsyncResult | GroupResult, results: Sequence[AsyncResult | GroupResult]
) -> dict[str, Any]:
    """Register a family of tasks that were started, and return its status object."""
    parts = [each.id for each in results if not isinstance(each, GroupResult)]
    if not parts:
        raise ValueError("accepted() was given a group of no tasks, so there is nothing to follow.")
    kind = _kind_of(result, is_chain=len(parts) == len(results))
    register = asking_the_store(_backend().store.families.register)
    try:
        family_id, record = register(
            *(idempotency.counts(result.id), [*map(idempotency.counts, parts)], kind),
            owner=user(),
            # Celery does not tell the first steps of a chain that is the body of a chord.
            has_hidden_parts=len(results) - len(parts) > (kind == "group"),
        )
    except LookupError as error:
        raise _not_recorded(error) from None
    if record["parts"].get("ended"):
        return find_task(family_id)  # with its result
    return asking_the_store(_backend().describe_accepted)(family_id, record)


def _kind_of(result: AsyncResult | GroupResult, is_chain: bool) -> str:
    if is_chain:
        return "chain"
    if result.parent is None:
        return "group"
    is_chord = isinstance(result.parent, GroupResult) and result.parent.parent is None
    return "chord" if is_chord and not isinstance(result, GroupResult) else "workflow"


def _not_recorded(task_id: object) -> RuntimeError:
    return RuntimeError(
        f"Task {task_id} was not recorded: its transaction has not been committed, or it was not sent."
    )


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
        some, following = _parts(task_id) if task["parts"] else ([], None)
        found = {"parts": [*map(plain, some)], "next": following}
        found["history"] = plain(find_history(task_id))
        return _page(
            "longtask/status.html", headers, running=_may_change(task), task=plain(task), **found
        )
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


@bp.get("/status/<longtask_id:task_id>/history")
def history(task_id: str) -> Response:
    """Answer the attempts at a task and the lines that it has logged, or a stream of them until the task has ended.

    `after` is the number of the last line that the client knows.
    """
    after = _last_line_known()
    if prefers("application/json", stream.MIMETYPE) == stream.MIMETYPE:
        return stream_history(task_id, _find(task_id), after)
    if installed().authorize:  # it decides by the task's status, which needs more than one read
        _find(task_id)
    return _json(find_history(task_id, after), [("Vary", "Accept")])


def _last_line_known() -> int:
    # A browser repeats the id of the last event when it reconnects. Like all browsers' own headers, it is not checked.
    last = request.headers.get("Last-Event-ID", "")
    if _NUMBER.fullmatch(last):
        return int(last)
    after = request.args.get("after", "0")
    if not _NUMBER.fullmatch(after):
        raise BadField("after", "must be the number of a line.")
    return int(after)


@bp.get("/status/<longtask_id:task_id>/parts")
def parts(task_id: str) -> Response:
    """Answer the parts of a family, 50 at a time: those that failed and those that run come first."""
    family = _find(task_id)
    cursor = request.args.get("cursor", "0")
    if not _CURSOR.fullmatch(cursor):
        raise BadField("cursor", "must be the value of `next` in the answer before.")
    some, following = _parts(task_id, int(cursor))
    headers = [("Vary", "Accept")]
    if wants_html():
        found = {"task": plain(family), "parts": [*map(plain, some)], "next": following}
        return _page("longtask/parts.html", headers, running=_may_change(family), **found)
    return _json({"parts": some, "next": following}, headers)


@asking_the_store
def _parts(family_id: str, after: int = 0) -> tuple[list[dict[str, Any]], str | None]:
    """Return the status objects of some parts, and the cursor of the next ones."""
    found = _backend().store.families.parts(family_id, after, PARTS_AT_ONCE)
    statuses = _backend().describe([part for part, _ in found], alone=True)
    following = str(int(found[-1][1])) if len(found) == PARTS_AT_ONCE else None
    return [*filter(None, statuses.values())], following


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


@bp.post("/status/<longtask_id:task_id>/restart")
def restart(task_id: str) -> BaseResponse:
    """Start a task again that has failed or was cancelled: a new task with the same arguments."""
    body.read_to_its_end()
    return accepted(start_again(_find(task_id, "restart")))


def start_again(task: Mapping[str, Any]) -> AsyncResult:
    """Start a task again, given its status object. Raises Conflict if that is not possible."""
    if not task.get("restartable"):
        raise Conflict(_why_not_again(task))
    try:
        result: AsyncResult = asking_the_store(_backend().start_again)(task["task_id"])
    except LookupError:
        raise Conflict(_why_not_again(task)) from None
    return result


def _why_not_again(task: Mapping[str, Any]) -> str:
    if _runs(task):
        return "The task has not ended yet."
    if task["state"] == states.SUCCESS:
        return "The task has succeeded, so it is not started again."
    return (
        "The task cannot be started again: it does not allow that, it is part of a group or a chain, "
        "or what it was started with is no longer kept."
    )


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
        running, shown = any(map(_may_change, started)), [*map(plain, started)]
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
        raise NotFound(_NO_TASK)
    return task


@asking_the_store
def find_history(task_id: str, after: int = 0) -> dict[str, Any]:
    """Return the attempts and the lines of a task. Raises NotFound if there is no such task."""
    found = _backend().history(task_id, after) if ids.is_id(task_id) else None
    if found is None:
        raise NotFound(_NO_TASK)
    return found


def _runs(task: Mapping[str, Any]) -> bool:
    return task["state"] not in ENDED_STATES


def _may_change(task: Mapping[str, Any]) -> bool:
    """Whether a page of the task has to be read again: it runs, or parts of a failed family go on."""
    parts = task["parts"]
    return _runs(task) or bool(parts and parts["waiting"] + parts["running"])


def _page(template: str, headers: Headers = (), **values: Any) -> Response:
    page = render_template(template, poll_seconds=POLL_SECONDS, **values)
    return Response(page, headers=[("Cache-Control", "no-store"), *headers])


def _json(document: Mapping[str, Any] | None, headers: Headers = (), status: int = 200) -> Response:
    text = dumps(document) + b"\n"  # for people who read it in a terminal
    headers = [("Content-Type", "application/json"), ("Cache-Control", "no-store"), *headers]
    return Response(text, status, headers)
