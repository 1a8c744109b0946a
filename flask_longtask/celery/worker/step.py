"""What the steps ask of the worker that they are steps of."""

from typing import Any

from flask_longtask.celery.broker.transport import QoS

#: Every step comes after the one that has begun to take messages.
AFTER_TASKS = ("celery.worker.consumer.tasks:Tasks",)

#: How a task's process is ended. A task may block or handle any other signal, and one that is stopped gets none.
END = "KILL"


def leases_of(consumer: Any) -> QoS | None:
    """What the worker holds by leases of ours; None with a broker that needs none."""
    qos = getattr(consumer.task_consumer.channel, "qos", None)
    return qos if isinstance(qos, QoS) else None
