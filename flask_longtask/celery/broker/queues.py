"""How many tasks wait in the broker's queues, whichever broker it is, and that no more may."""

from contextlib import nullcontext
from typing import Any

import celery
from kombu.entity import Queue
from kombu.exceptions import OperationalError
from kombu.transport import virtual

from flask_longtask.celery.broker.transport import LeaseChannel


class QueueFull(OperationalError):
    """As many tasks wait in a queue as may (LONGTASK_MAX_WAITING): a Flask app answers 503."""

    def __init__(self, most: int) -> None:
        super().__init__(f"{most:,} {'task waits' if most == 1 else 'tasks wait'} already.")


def count_waiting(app: celery.Celery, *names: str) -> int:
    """Messages that no worker has taken yet, in these queues or, without names, in all of the app's.

    Raises kombu.exceptions.OperationalError when the broker cannot be reached.
    """
    known = app.amqp.queues
    # By an index, Celery would add one that it does not know to those that a worker takes messages from.
    queues = [known.get(name) or Queue(name) for name in names or known]  # type: ignore[no-untyped-call]
    with app.connection_or_acquire() as connection:
        connection.ensure_connection(max_retries=1, interval_start=0, timeout=1)
        try:
            return sum(_length(connection, queue) for queue in queues)
        except connection.connection_errors as error:
            connection.collect()  # an answer that comes late must not be taken for another one
            raise OperationalError(str(error)) from error


def _length(connection: Any, queue: Any) -> int:
    channel = connection.default_channel
    if isinstance(channel, LeaseChannel):
        # Kombu asks whether a queue is declared by a command that knows nothing of `global_keyprefix`.
        return channel.count(queue.name)
    # AMQP closes a channel on which a queue was named that does not exist.
    is_spared = isinstance(channel, virtual.Channel)
    with nullcontext(channel) if is_spared else connection.channel() as channel:
        try:
            declared = queue(channel).queue_declare(passive=True)
        except connection.channel_errors:
            return 0  # not declared before the first message or worker
        return int(declared.message_count)
