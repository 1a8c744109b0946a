"""Tasks that take as long as their type says, with the addresses and fields of an older system.

Clients of that system loop while `task_status` is PENDING, so every task that has not ended is shown as PENDING.
"""

import time
from typing import Any

from celery import shared_task
from flask import Blueprint, Response, current_app, url_for
from werkzeug.wrappers import Response as BaseResponse

from flask_longtask import Task, accepted, find_task, integer, openapi
from flask_longtask.json_text import dumps
from flask_longtask.status import ENDED_STATES

bp = Blueprint("timed", __name__)

_STARTED = {
    "type": "object",
    "required": ["task_id"],
    "additionalProperties": False,
    "properties": {"task_id": {"type": "string", "format": "uuid"}},
}
_STATUS = {
    "type": "object",
    "required": ["task_id", "task_status", "task_result"],
    "additionalProperties": False,
    "properties": {
        "task_id": {"type": "string", "format": "uuid"},
        "task_status": {"type": "string"},
        "task_result": {},
    },
}


@shared_task(bind=True)
def timed_task(self: Task, kind: int) -> bool:
    """Sleep for TIMED_SECONDS times the type."""
    length = kind * current_app.config["TIMED_SECONDS"]
    steps = range(100)
    for _ in self.track(steps):
        time.sleep(length / len(steps))
    return True


@bp.post("/tasks")
@openapi.documented(
    openapi.starts(
        "Start a timed task",
        required=("type",),
        answer=_STARTED,
        type=openapi.whole_number(0, 3),
    )
)
def start() -> BaseResponse:
    result = timed_task.delay(integer("type", minimum=0, maximum=3))
    response = accepted(result)
    if response.status_code == 202:
        response.set_data(dumps({"task_id": result.id}))
        response.location = url_for(".show", task_id=result.id, _external=True)
    return response


@bp.get("/tasks/<task_id>", strict_slashes=False)
@openapi.documented(openapi.tells("Whether a timed task has ended", _STATUS, "task_id"))
def show(task_id: str) -> Response:
    task = find_task(task_id)
    ended = task["state"] in ENDED_STATES
    document: dict[str, Any] = {
        "task_id": task_id,
        "task_status": task["state"] if ended else "PENDING",
        "task_result": task["result"],
    }
    headers = {"Cache-Control": "no-store"}
    return Response(dumps(document), headers=headers, mimetype="application/json")
