"""Asks the app's `authorize` who may read, cancel or list a task. Without it, knowing the id is enough."""

from collections.abc import Mapping
from typing import Any

from flask import current_app
from werkzeug.exceptions import Forbidden

from flask_longtask.installed import installed
from flask_longtask.web.problems import asking_the_store

Statuses = dict[str, dict[str, Any] | None]


def permitted(tasks: Statuses, action: str) -> Statuses:
    """Return the tasks, with None for each task for which `authorize` forbids the action."""
    authorize = installed().authorize
    if authorize is None:
        return tasks
    authorize = current_app.ensure_sync(authorize)  # it may be async, as a view may
    owners = _owners(tasks)
    return {
        task_id: task if task and authorize({**task, "owner": owners[task_id]}, action) else None
        for task_id, task in tasks.items()
    }


def require(task: dict[str, Any], action: str) -> None:
    """Raise Forbidden unless `authorize` permits the action with the task."""
    task_id = task["task_id"]
    if permitted({task_id: task}, action)[task_id] is None:
        raise Forbidden(f"You may not {action} this task.")


@asking_the_store
def _owners(task_ids: Mapping[str, Any]) -> dict[str, str | None]:
    """Return the user who started each task, as the app named them then; None if there was none."""
    stored = installed().celery.backend.read([*task_ids])
    records = [(each and each.record) or {} for each in stored]
    return {task_id: record.get("owner") for task_id, record in zip(task_ids, records, strict=True)}
