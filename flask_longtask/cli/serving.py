"""The commands `workers` and `queues`: which workers run tasks, and which queues they serve."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import click

from flask_longtask.celery.app import Celery
from flask_longtask.celery.broker.queues import count_waiting
from flask_longtask.cli.group import as_json as as_json_option
from flask_longtask.cli.group import celery_app, cli, echo_json, echo_table
from flask_longtask.store.presence import Heard


class QueueState(NamedTuple):
    """A queue: how many messages wait in it, and the names of the living workers that serve it."""

    name: str
    waiting: int
    workers: list[str]

    @property
    def is_stuck(self) -> bool:
        """Whether messages wait in the queue and no living worker serves it."""
        return bool(self.waiting and not self.workers)


def look_at_queues(app: Celery, heard: Iterable[Heard]) -> list[QueueState]:
    """Return the queues of the app's settings, those that a worker serves, and others in which tasks wait."""
    living = [worker for worker in heard if worker.is_alive]
    known = set(app.amqp.queues) | {queue for worker in living for queue in worker.queues}
    others = {queue for store in app.stores for queue in store.tasks.queues()} - known
    found = [
        QueueState(name, count_waiting(app, name), [w.name for w in living if name in w.queues])
        for name in sorted(known | others)
    ]
    return [queue for queue in found if queue.name in known or queue.waiting]


@cli.command()
@as_json_option
def workers(as_json: bool) -> None:
    """List the workers, the queues they serve and the tasks they run."""
    backend = celery_app().backend
    heard = backend.store.workers.heard()
    running = backend.describe([i for worker in heard for i in worker.running])
    if as_json:
        echo_json({"workers": [_document(worker) for worker in heard]})
        return
    rows = []
    for worker in heard:
        tasks = [f"{(running[i] or {}).get('task') or '?'} {i}" for i in worker.running]
        rows.append(
            [
                worker.name,
                "alive" if worker.is_alive else f"silent for {worker.silent_for:.0f}s",
                ", ".join(worker.queues) or "-",
                worker.version or "?",
                ", ".join(tasks) or "-",
            ]
        )
    if rows:
        echo_table(["NAME", "STATE", "QUEUES", "VERSION", "RUNS"], rows)
    else:
        click.echo("No worker is running.")


@cli.command()
@as_json_option
def queues(as_json: bool) -> None:
    """List the queues, how many messages wait in each and which workers serve it."""
    app = celery_app()
    found = look_at_queues(app, app.backend.store.workers.heard())
    if as_json:
        echo_json({"queues": [queue._asdict() for queue in found]})
        return
    rows = [
        [queue.name, f"{queue.waiting:,}", ", ".join(queue.workers) or "served by no worker"]
        for queue in found
    ]
    echo_table(["QUEUE", "WAITING", "WORKERS"], rows)


def _document(worker: Heard) -> dict[str, Any]:
    return {
        "name": worker.name,
        "alive": worker.is_alive,
        "silent_for": round(worker.silent_for, 1),
        "queues": worker.queues,
        "version": worker.version,
        "running": worker.running,
    }
