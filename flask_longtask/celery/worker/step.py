"""What the worker's steps have in common."""

from typing import Any

from flask_longtask.celery.broker.transport import QoS

#: Every step comes after Celery's step that begins to take messages.
AFTER_TASKS = ("celery.worker.consumer.tasks:Tasks",)

#: The signal that ends a task's process. A task may block or handle any other, and a stopped process gets no other.
END = "KILL"


def leases_of(consumer: Any) -> QoS | None:
    """Return the messages that the worker holds by our leases; None with a broker that needs no leases."""
    qos = getattr(consumer.task_consumer.channel, "qos", None)
    return qos if isinstance(qos, QoS) else None
