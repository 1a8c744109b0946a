"""Asks the app's `authorize` who may read, cancel or list a task. Without it, knowing the id is enough."""

from collections.abc import Callable, Collection
from typing import Any

from flask import current_app
from werkzeug.exceptions import Forbidden

from flask_longtask.installed import installed
from flask_longtask.web.problems import asking_the_store

Statuses = dict[str, dict[str, Any] | None]


def permitted(tasks: Statuses, action: str) -> Statuses:
    """Return the tasks, with None for each task for which `authorize` forbids the action."""
    may = _judge(tasks)
    return {
        task_id: task if task and may(task, action) else None for task_id, task in tasks.items()
    }


def require(task: dict[str, Any], *actions: str) -> None:
    """Raise Forbidden unless `authorize` permits these actions with the task."""
    may = _judge([task["task_id"]])
    for action in actions:
        if not may(task, action):
            raise Forbidden(f"You may not {action} this task.")


def _judge(task_ids: Collection[str]) -> Callable[[dict[str, Any], str], bool]:
    """Return a function that tells whether `authorize` permits an action with one of these tasks."""
    authorize = installed().authorize
    if authorize is None:
        return lambda task, action: True
    authorize = current_app.ensure_sync(authorize)  # it may be async, as a view may
    owners = _owners(task_ids)
    return lambda task, action: bool(authorize({**task, "owner": owners[task["task_id"]]}, action))


@asking_the_store
def _owners(task_ids: Collection[str]) -> dict[str, str | None]:
    """Return the user who started each task, as the app named them then; None if there was none."""
    stored = installed().celery.backend.read([*task_ids])
    records = [(each and each.record) or {} for each in stored]
    return {task_id: record.get("owner") for task_id, record in zip(task_ids, records, strict=True)}
