"""What the operators' page shows besides tasks: the workers with what each runs, the queues, and some counts."""

from typing import Any

from flask_longtask.celery.backend import RedisBackend
from flask_longtask.operate.search import shown

#: The most tasks that are shown of a worker.
MOST_RUNNING = 10


def overview(backend: RedisBackend) -> dict[str, Any]:
    """Return the `workers`, `queues` and `counts` of the page."""
    store = backend.store
    heard = store.workers.heard()
    waits = {queue.name: queue for queue in store.listing.queues()}
    now = store.clock.now()
    running = [i for worker in heard for i in worker.running[:MOST_RUNNING]]
    tasks = shown(backend, running, alone=True)
    living = [worker for worker in heard if worker.is_alive]
    served = {queue for worker in living for queue in worker.queues}
    return {
        "workers": [
            {
                "id": worker.worker,
                "name": worker.name,
                "alive": worker.is_alive,
                "silent_for": round(worker.silent_for, 1),
                "queues": worker.queues,
                "running": len(worker.running),
                "tasks": [tasks[i] for i in worker.running[:MOST_RUNNING] if i in tasks],
            }
            for worker in heard
        ],
        "queues": [
            {
                "name": name,
                "waiting": waits[name].waiting if name in waits else 0,
                "oldest": _seconds(now, waits[name].since) if name in waits else None,
                "workers": [worker.name for worker in living if name in worker.queues],
            }
            for name in sorted(served | {name for name, queue in waits.items() if queue.waiting})
        ],
        "counts": {
            "open": store.listing.count("open"),
            "ended": store.listing.count("ended"),
            "running": sum(len(worker.running) for worker in living),
            "waiting": sum(queue.waiting for queue in waits.values()),
            "scheduled": store.listing.count("scheduled"),
        },
    }


def _seconds(now: float, since: float | None) -> float | None:
    return None if since is None else round(max(0.0, now - since), 1)
