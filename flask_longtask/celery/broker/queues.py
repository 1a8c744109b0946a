"""Counts the tasks that wait in the queues of any broker, and defines the error for a full queue."""

from contextlib import nullcontext
from typing import Any

import celery
from kombu.entity import Queue
from kombu.exceptions import OperationalError
from kombu.transport import virtual

from flask_longtask.celery.broker.transport import LeaseChannel


class QueueFull(OperationalError):
    """A queue is full: LONGTASK_MAX_WAITING tasks wait in it. A protected route answers 503."""

    def __init__(self, most: int) -> None:
        super().__init__(f"{most:,} {'task waits' if most == 1 else 'tasks wait'} already.")


def count_waiting(app: celery.Celery, *names: str) -> int:
    """Count the messages that no worker has taken yet, in these queues or, without names, in all of the app's.

    Raises kombu.exceptions.OperationalError when the broker cannot be reached.
    """
    known = app.amqp.queues
    # Indexing would make Celery add an unknown queue to those that a worker takes messages from.
    queues = [known.get(name) or Queue(name) for name in names or known]  # type: ignore[no-untyped-call]
    with app.connection_or_acquire() as connection:
        connection.ensure_connection(max_retries=1, interval_start=0, timeout=1)
        try:
            return sum(_length(connection, queue) for queue in queues)
        except connection.connection_errors as error:
            connection.collect()  # a late answer must not be taken for that of another command
            raise OperationalError(str(error)) from error


def _length(connection: Any, queue: Any) -> int:
    channel = connection.default_channel
    if isinstance(channel, LeaseChannel):
        # Kombu's own check whether a queue is declared ignores `global_keyprefix`.
        return channel.count(queue.name)
    # AMQP closes a channel that names a queue which does not exist, so use another channel.
    is_virtual = isinstance(channel, virtual.Channel)
    with nullcontext(channel) if is_virtual else connection.channel() as channel:
        try:
            declared = queue(channel).queue_declare(passive=True)
        except connection.channel_errors:
            return 0  # a queue is declared by the first message or worker
        return int(declared.message_count)
