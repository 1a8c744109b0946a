"""The attempts at tasks that run in this process, and the id of its worker."""

import os
import socket
from uuid import uuid4
from weakref import WeakKeyDictionary

from celery.app.task import Context, Task

from flask_longtask.store import Run

#: The unique id of this worker in the store. Host name and process id are not unique: a restarted container has the
#: same ones as before. Pool processes inherit the id.
WORKER_ID = f"{socket.gethostname().encode('ascii', 'replace').decode()}/{uuid4().hex[:12]}"


class Pool:
    """What the worker's pool can do. A pool of processes can do everything, and its processes keep these values."""

    has_processes = True
    #: Whether it can end a task that is cancelled or over its time limit and does not end by itself.
    can_stop_tasks = True


_runs: WeakKeyDictionary[Context, Run] = WeakKeyDictionary()


def describe_run(task: Task, request: Context, holds_messages: bool) -> Run:
    """Describe an attempt that is about to start. `holds_messages` says whether our Redis keeps the messages."""
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
    """Return the attempt that runs this request; None in a worker's main process or outside a worker."""
    return _runs.get(request) if request is not None else None


def is_stopping() -> bool:
    """Whether this worker is to stop."""
    # Imported here because a web process does not need it.
    from celery.worker import state  # noqa: PLC0415

    # Once Celery stops, it keeps the exit code here, which may be 0.
    codes = state.should_stop, state.should_terminate
    return any(code is not None and code is not False for code in codes)
