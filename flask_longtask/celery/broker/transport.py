"""Kombu's Redis transport with leases: how messages are pushed, taken and held. Dead workers are detected elsewhere.

Kombu redelivers a message once its worker has held it for `visibility_timeout`. In the hour that is its default, the
tasks of a dead worker stand still; with a shorter timeout, every task that takes longer runs twice. Here a message
belongs to the worker that has taken it for as long as that worker lives (see store/messages.py). Other brokers detect
dead workers by themselves and need none of this.

Kombu also loses a message if the worker dies, freezes or is cut off after Redis has sent the message and before the
worker has noted that it holds it. Here one script takes and notes a message (take.lua). Since a script cannot wait, a
worker whose queues are empty waits for the bell of each queue: a list that gets an element with every message.
"""

import time
from collections.abc import Collection, Sequence
from functools import cached_property
from itertools import repeat
from queue import Empty
from typing import Any

from celery.exceptions import ImproperlyConfigured
from kombu.exceptions import OperationalError
from kombu.transport import redis, virtual
from kombu.utils.json import dumps
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from flask_longtask.celery.attempt import WORKER_ID
from flask_longtask.celery.broker.message import Message, read
from flask_longtask.celery.broker.short_waits import ShortWaits
from flask_longtask.celery.sending import NotAccepted, sending
from flask_longtask.store import Queue, Store
from flask_longtask.store.messages import Messages, TakeRequest

#: Seconds after which no answer is expected any more. On a link that is cut, the kernel would retransmit for a quarter
#: of an hour. A whole number, as Kombu needs it.
SILENCE = 5

#: Connection options for asking a Sentinel for the master. A user may be waiting, so the next Sentinel is asked soon
#: after one does not answer; redis-py would try the same one for a minute.
ASK_SENTINEL = {
    "socket_timeout": 0.3,
    "socket_connect_timeout": 0.3,
    "retry": Retry(NoBackoff(), 0),
}


#: Our transports, by URL scheme.
_TRANSPORTS = {
    "redis": "flask_longtask.celery.broker.transport:Transport",
    "rediss": "flask_longtask.celery.broker.transport:Transport",
    "sentinel": "flask_longtask.celery.broker.transport:SentinelTransport",
    "amqp": "flask_longtask.celery.broker.rabbitmq:Transport",
    "pyamqp": "flask_longtask.celery.broker.rabbitmq:Transport",
    "amqps": "flask_longtask.celery.broker.rabbitmq:SSLTransport",
}


def transport_for(broker_url: str) -> str | None:
    """Return our transport for this broker, in the form of Celery's `broker_transport`; None if we have none.

    Raises ImproperlyConfigured for a Redis behind a Unix socket: Kombu takes a transport of its own for that address.
    """
    if broker_url.startswith("redis+socket"):
        raise ImproperlyConfigured(
            "LongTask's broker_url cannot be a Unix socket: give the address of Redis as redis://host:port/0."
        )
    return _TRANSPORTS.get(broker_url.partition("://")[0])


def options(broker_url: str) -> dict[str, Any]:
    """Return transport options that detect a silent broker."""
    if broker_url.startswith(("redis", "sentinel")):
        return {
            "socket_connect_timeout": 1.0,
            "socket_timeout": SILENCE,
            # The same for the next message, for which a worker waits in its event loop and not in a call.
            "health_check_interval": SILENCE,
        }
    # A start is answered with 202 only when RabbitMQ has confirmed that it has the message.
    return {"confirm_publish": True} if broker_url.startswith(("amqp", "pyamqp")) else {}


def give_up_on_silence(error: Exception, interval: float) -> None:
    """Raise OperationalError if the broker is silent. Kombu calls this before it reconnects to resend a message.

    Resending helps if the connection was closed, but not if the broker does not answer.
    """
    if isinstance(error, TimeoutError | RedisTimeoutError):
        raise OperationalError(str(error)) from error


#: How sending a message is retried while a user is waiting: Celery's `task_publish_retry_policy`.
RETRY_POLICY = {
    "max_retries": 1,
    "interval_start": 0,
    "interval_step": 0.1,
    "errback": give_up_on_silence,
}


def publisher_options(broker_url: str) -> dict[str, Any]:
    """Return further options for publishing, with which a silent broker is an error within a second."""
    if broker_url.startswith(("redis", "sentinel")):
        return {"socket_timeout": 1.0}
    if broker_url.startswith(("amqp", "pyamqp")):
        return {"patience": 1.0}
    return {}


class QoS(virtual.QoS):
    """The messages that a worker holds on one channel. Redis notes each when it is taken."""

    #: When only the connection is lost, running tasks go on and keep their messages.
    restore_at_shutdown = False

    def ack(self, delivery_tag: str) -> None:
        self.channel.messages.acknowledge(WORKER_ID, delivery_tag)
        super().ack(delivery_tag)  # type: ignore[no-untyped-call]

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        if requeue:
            # To the end of the queue, as in Kombu. At its front, the same worker would take it again at once.
            self.channel.messages.hand_back(WORKER_ID, [delivery_tag], at_the_end=True)
            super().ack(delivery_tag)  # type: ignore[no-untyped-call]
        else:
            self.ack(delivery_tag)

    def hand_back(self, delivery_tag: str) -> None:
        """Put a message back at the front of its queue, where its task waits again."""
        super().ack(delivery_tag)  # type: ignore[no-untyped-call]  # first: this worker may take it at once
        self.channel.messages.hand_back(WORKER_ID, [delivery_tag])

    def keep(self, messages: Collection[Any]) -> None:
        """Go on holding these messages of a channel that has lost its connection, and hand back the others."""
        kept = {message.delivery_tag for message in messages}
        for message in messages:
            message.channel = self.channel  # where it will be acknowledged
            self.append(message, message.delivery_tag)  # type: ignore[no-untyped-call]
        held = self.channel.messages.held(WORKER_ID)
        self.channel.messages.hand_back(WORKER_ID, held - kept)


class LeaseChannel:
    QoS = QoS
    Message = Message

    #: The prefix of the store's keys.
    longtask_prefix = ""
    #: A batch would push messages without recording their tasks and without ringing the bell.
    supports_batch_publish = False
    #: The queues whose messages are taken without being held.
    _unacknowledged: frozenset[str] = frozenset()
    #: Whether every queue was found empty, so that the next command waits for a bell.
    _all_empty = False
    #: When Redis was asked for a message. Kombu uses it to check that the connection is alive.
    _brpop_sent_at: Any = None

    @cached_property
    def store(self: Any) -> Store:
        """The store in the Redis that keeps the messages."""
        return Store(Redis(connection_pool=self.pool), self.longtask_prefix)

    @property
    def messages(self) -> Messages:
        return self.store.messages

    def basic_consume(self, queue: str, no_ack: bool, *args: Any, **kwargs: Any) -> Any:
        if no_ack:
            self._unacknowledged = self._unacknowledged | {queue}
        return super().basic_consume(queue, no_ack, *args, **kwargs)  # type: ignore[misc]

    def _lists(self: Any, queue: str) -> list[str]:
        """The lists in which Kombu keeps the messages of a queue, the most urgent first."""
        name = self.global_keyprefix + queue
        return [f"{name}{self.sep}{step}" if step else name for step in self.priority_steps]

    def count(self, queue: str) -> int:
        """The messages of a queue that no worker has taken."""
        return self.messages.count(self._lists(queue))

    def _request(self: Any, queues: Sequence[str]) -> TakeRequest:
        by_queue = [zip(self._lists(queue), repeat(queue)) for queue in queues]
        lists = [pair for pairs in zip(*by_queue, strict=True) for pair in pairs]
        return TakeRequest(
            WORKER_ID,
            [name for name, _ in lists],
            [queue for _, queue in lists],
            [queue not in self._unacknowledged for _, queue in lists],
        )

    # Kombu calls these two before and after it waits for the socket. Its own send BRPOP and read the message.

    def _brpop_start(self: Any, timeout: float | None = None) -> None:
        queues = self._queue_cycle.consume(len(self.active_queues))
        if not queues:
            return
        if self._all_empty:
            command = self.messages.wait_command(queues, timeout or self.brpop_timeout or 0)
        else:
            command = self.messages.take_command(self._request(queues))
        self._in_poll = self.client.connection
        self._brpop_sent_at = time.monotonic()
        self.client.connection.send_command(*command)

    def _brpop_read(self: Any, **options: Any) -> bool:
        waited, self._all_empty = self._all_empty, False
        try:
            reply = self.client.parse_response(self.client.connection, "EVAL", **options)
        except self.connection_errors:
            self.client.connection.disconnect()
            raise
        finally:
            self._in_poll = None
            self.maybe_reauth()
        if waited:
            raise Empty  # the message that rang the bell is taken next
        taken = self.messages.taken(reply)
        if taken is None:
            self._all_empty = True
            raise Empty
        self._queue_cycle.rotate(taken.queue)
        self.connection._deliver(read(taken), taken.queue)
        return True

    # The methods that Kombu expects of a virtual channel.

    def _get(self: Any, queue: str) -> Any:
        taken = self.messages.take(self._request([queue]))
        if taken is None:
            raise Empty
        return read(taken)

    def _put(self: Any, queue: str, message: dict[str, Any], **options: Any) -> None:
        lists = self._lists(queue)
        priority = self.priority(self._get_message_priority(message, reverse=False))
        number = self.priority_steps.index(priority)
        task = sending.get()
        if task is not None and message["headers"].get("id") == task.task_id:
            text = dumps(message)  # type: ignore[no-untyped-call]
            acceptance = task.accept(Queue(queue, lists, number), text)
            if not acceptance.is_sent:
                raise NotAccepted(acceptance)
        elif self._expires.get(queue):
            super()._put(queue, message, **options)  # type: ignore[misc]
        else:
            self.messages.push(queue, lists[number], dumps(message))  # type: ignore[no-untyped-call]


class Channel(LeaseChannel, redis.Channel):  # type: ignore[misc]
    """A channel on which a worker holds its messages for as long as the worker lives."""

    from_transport_options: Any = (*redis.Channel.from_transport_options, "longtask_prefix")


class SentinelChannel(LeaseChannel, redis.SentinelChannel):  # type: ignore[misc]
    """The same for a broker that is found by Sentinel."""

    # Not a connection option: a worker reports those as JSON to anyone who asks.
    sentinel_kwargs = ASK_SENTINEL
    from_transport_options: Any = (*redis.SentinelChannel.from_transport_options, "longtask_prefix")


class Transport(ShortWaits, redis.Transport):
    Channel = Channel


class SentinelTransport(ShortWaits, redis.SentinelTransport):
    Channel = SentinelChannel
