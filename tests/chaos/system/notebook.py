"""What the tasks of the chaos run note of themselves, in a Redis that no fault touches. Who judges it is elsewhere."""

import os
from functools import cache
from typing import Any, NamedTuple

from celery import Task
from redis import Redis

from flask_longtask.celery.attempt import Pool, run_of

#: In the environment of the workers: where the notebook is.
VARIABLE = "CHAOS_NOTEBOOK"

_STREAM = "notebook"


class Entry(NamedTuple):
    """One line of the notebook. `at` is the notebook's own clock, in seconds since 1970."""

    at: float
    #: "start" of an attempt, or its "effect".
    what: str
    task_id: str
    #: The Idempotency-Key of the request that started it.
    key: str
    attempt: int
    #: The worker's name, and the process in it.
    worker: str
    pid: int
    #: Whether the pool of this worker can end a task.
    stoppable: bool = True


@cache
def _client() -> Redis:
    return Redis.from_url(os.environ[VARIABLE])


def note(task: Task, what: str, key: str) -> None:
    """Called by a running task."""
    run = run_of(task.request)
    fields: dict[Any, Any] = {
        "what": what,
        "task_id": task.request.id,
        "key": key,
        "attempt": (run and run.attempt) or 0,
        "worker": task.request.hostname.partition("@")[0],
        "pid": os.getpid(),
        "stoppable": int(Pool.can_stop_tasks),
    }
    _client().xadd(_STREAM, fields)


def read(client: Redis) -> list[Entry]:
    """All of it, in order."""
    entries = []
    lines: Any = client.xrange(_STREAM)
    for name, raw in lines:
        fields = {field.decode(): value.decode() for field, value in raw.items()}
        entries.append(
            Entry(
                at=int(name.partition(b"-")[0]) / 1000,
                what=fields["what"],
                task_id=fields["task_id"],
                key=fields["key"],
                attempt=int(fields["attempt"]),
                worker=fields["worker"],
                pid=int(fields["pid"]),
                stoppable=fields["stoppable"] == "1",
            )
        )
    return entries
