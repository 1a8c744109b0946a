"""The attempts at tasks that run in this process, and the name of this process as a worker."""

import os
import socket
from uuid import uuid4
from weakref import WeakKeyDictionary

from celery.app.task import Context, Task

from flask_longtask.store import Run

#: Names this worker in what is stored. No other worker has the name, nor has the one that takes its place: a
#: restarted container has the host name and the process id of the one before. Pool processes inherit it.
WORKER_ID = f"{socket.gethostname().encode('ascii', 'replace').decode()}/{uuid4().hex[:12]}"


class Pool:
    """What the worker's pool can do: a pool of processes everything. Its processes keep these values."""

    has_processes = True
    #: Whether it can end a task that does not end by itself, when it is cancelled or over its time limit.
    can_stop_tasks = True


_runs: WeakKeyDictionary[Context, Run] = WeakKeyDictionary()


def describe_run(task: Task, request: Context, holds_messages: bool) -> Run:
    """What an attempt that is about to start says of itself. `holds_messages`: messages are kept in our Redis."""
    properties = getattr(request, "properties", None) or {}
    return Run(
        task=task.name,
        worker=WORKER_ID,
        pid=os.getpid(),
        nonce=uuid4().hex,
        queue=(request.delivery_info or {}).get("routing_key"),
        # A message that was acknowledged at once is not held any more.
        tag=properties.get("delivery_tag") if holds_messages and task.acks_late else None,
    )


def remember(request: Context, run: Run) -> None:
    _runs[request] = run


def run_of(request: Context | None) -> Run | None:
    """The attempt that writes in the name of this request; None for a worker's main process, or outside of one."""
    return _runs.get(request) if request is not None else None


def is_stopping() -> bool:
    """Whether this worker is to stop."""
    # A web process has no use for all that this imports.
    from celery.worker import state  # noqa: PLC0415

    # Celery keeps the exit code here once it stops, and 0 is one.
    codes = state.should_stop, state.should_terminate
    return any(code is not None and code is not False for code in codes)
