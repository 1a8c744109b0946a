"""Kombu's Redis transport with leases: a living worker keeps its messages, a dead one's come back fast.

Kombu hands a message out again when its worker has held it for `visibility_timeout`: an hour by default, in
which the tasks of a dead worker stand still, while any shorter time makes every longer task run twice. Here
the time is short, and a living worker renews it for each message it holds (see `worker.py`), as SQS and
BullMQ have it. Other brokers notice by themselves that a worker is gone, and need none of this.

Kombu also loses a message that Redis has sent to a worker which dies, freezes or is cut off before it could
note that it holds it. Here a message is taken and noted in one step (`take.lua`). As a script cannot wait,
a worker whose queues are empty waits for a bell beside each queue, which rings for every message.
"""

import math
import time
from collections.abc import Collection, Iterable
from functools import cached_property
from importlib.resources import files
from queue import Empty
from typing import Any
from uuid import uuid4

from kombu.exceptions import OperationalError
from kombu.transport import TRANSPORT_ALIASES, redis, virtual
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import dumps, loads
from redis.backoff import NoBackoff
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from flask_longtask.presence import HOLDS

_TAKE = (files("flask_longtask") / "take.lua").read_text()

#: Seconds after which an answer that does not come never will: a link that is cut says nothing, and the kernel
#: goes on sending for a quarter of an hour. Whole seconds, as kombu has it.
SILENCE = 5

#: How a Sentinel is asked where the master is. The next one is asked when this one says nothing, and a person
#: may be waiting; redis-py would try the same one for a minute.
ASK_SENTINEL = {
    "socket_timeout": 0.3,
    "socket_connect_timeout": 0.3,
    "retry": Retry(NoBackoff(), 0),
}

#: Rings that a bell keeps at most. A worker that misses one looks a second later all the same.
_RINGS = 100


def register() -> None:
    """Make kombu take these transports for its own schemes."""
    TRANSPORT_ALIASES.update(
        redis="flask_longtask.transport:Transport",
        rediss="flask_longtask.transport:Transport",
        sentinel="flask_longtask.transport:SentinelTransport",
        amqp="flask_longtask.rabbitmq:Transport",
        pyamqp="flask_longtask.rabbitmq:Transport",
        amqps="flask_longtask.rabbitmq:SSLTransport",
    )


def options(broker_url: str, lease: float) -> dict[str, Any]:
    """Transport options with which a dead worker's messages are handed out again within `lease` seconds."""
    if not broker_url.startswith(("redis", "sentinel")):
        # Without it nobody knows whether RabbitMQ has what was sent, and a start may be answered with 202.
        return {"confirm_publish": True} if broker_url.startswith(("amqp", "pyamqp")) else {}
    return {
        "sentinel_kwargs": ASK_SENTINEL,
        "socket_connect_timeout": 1.0,
        "socket_timeout": SILENCE,
        # The same for what a worker does not wait for in a call of its own: the next message.
        "health_check_interval": SILENCE,
        # A message lapses after two thirds of the lease, and what has lapsed is looked for six times in it.
        "visibility_timeout": lease * 2 / 3,
        "unacked_restore_interval": lease / 6,
        "unacked_restore_throttle": 1,
        # The lock of a worker that looks; one that is killed meanwhile leaves it behind.
        "unacked_mutex_expire": max(1, round(lease / 6)),
    }


def give_up_on_silence(error: Exception, interval: float) -> None:
    """Called by kombu before it connects anew to send a message once more.

    That helps where a connection was closed. A broker that says nothing would say nothing once more.
    """
    if isinstance(error, TimeoutError | RedisTimeoutError):
        raise OperationalError(str(error)) from error


def publisher_options(broker_url: str) -> dict[str, Any]:
    """What whoever publishes needs on top: to be told within a second that the broker does not answer."""
    if broker_url.startswith(("redis", "sentinel")):
        return {"socket_timeout": 1.0}
    if broker_url.startswith(("amqp", "pyamqp")):
        return {"patience": 1.0}
    return {}


class Sight:
    """Whether Redis has been in sight without a break, so that every living worker has renewed its leases.

    Just after an outage those of all workers have lapsed, and none of their tasks is anybody else's.
    """

    def __init__(self) -> None:
        self._since = self._last = -math.inf

    def seen(self) -> None:
        """Redis has answered."""
        now = time.monotonic()
        if now - self._last > HOLDS:
            self._since = now
        self._last = now

    @property
    def is_clear(self) -> bool:
        now = time.monotonic()
        return now - self._last <= HOLDS <= now - self._since


class QoS(redis.QoS):
    """The messages that a worker holds on one channel."""

    #: The worker's; who has none does not look for other workers' messages.
    sight: Sight | None = None

    #: When only the connection is lost, the tasks that run go on, and their messages stay with them.
    restore_at_shutdown = False

    def append(self, message: Any, delivery_tag: str) -> None:
        """Hold a message. One that was taken by take.lua is in Redis already."""
        if self.channel.taken == delivery_tag:
            virtual.QoS.append(self, message, delivery_tag)  # type: ignore[no-untyped-call]
        else:
            super().append(message, delivery_tag)  # type: ignore[no-untyped-call]

    def restore_visible(self, *args: Any, **kwargs: Any) -> None:
        """Hand out again what has lapsed."""
        if self.sight and self.sight.is_clear:
            super().restore_visible(*args, **kwargs)  # type: ignore[no-untyped-call]

    def renew(self, channel: "Channel") -> None:
        """Say, through another channel, that all of them are still held. Any thread may call this."""
        # XX: a message that lapsed meanwhile, and is held by somebody else now, is not touched.
        held = dict.fromkeys(list(self._delivered), time.time())
        if held:
            with channel.conn_or_acquire() as client:
                client.zadd(channel.unacked_index_key, held, xx=True)

    def take_over(self, previous: "QoS", messages: Collection[Any]) -> None:
        """Go on holding some messages of a channel whose connection was lost; hand the others back."""
        kept = {message.delivery_tag for message in messages}
        for message in messages:
            message.channel = self.channel  # where it will be acknowledged
            self._delivered[message.delivery_tag] = message
        for tag in set(previous._delivered) - kept - previous._dirty:
            self.restore_by_tag(tag)  # type: ignore[no-untyped-call]


class _LeaseChannel:
    QoS = QoS

    #: The delivery tag of the message that was taken last.
    taken: str | None = None
    #: Whether every queue was found empty, so that the next thing is to wait.
    _all_empty = False
    #: When either was asked for; kombu checks by it that the connection is alive.
    _brpop_sent_at: Any = None

    def _create_client(self, asynchronous: bool = False) -> Any:
        # Kombu makes a client anew for each message that is sent: a fifth of the whole of `delay()`.
        if asynchronous:
            return super()._create_client(asynchronous)  # type: ignore[misc]
        return self._sending_client

    @cached_property
    def _sending_client(self) -> Any:
        return super()._create_client()  # type: ignore[misc]

    def basic_consume(self, queue: str, no_ack: bool, *args: Any, **kwargs: Any) -> Any:
        self._unacknowledged = {*getattr(self, "_unacknowledged", ()), *([queue] if no_ack else ())}
        return super().basic_consume(queue, no_ack, *args, **kwargs)  # type: ignore[misc]

    # Kombu calls these two around its wait for a socket; its own send BRPOP and read the message.

    def _brpop_start(self: Any, timeout: float | None = None) -> None:
        queues = self._queue_cycle.consume(len(self.active_queues))
        if not queues:
            return
        if self._all_empty:
            command = ["BRPOP", *map(self._bell, queues), timeout or self.brpop_timeout or 0]
        else:
            lists = [(self._q_for_pri(q, pri), q) for pri in self.priority_steps for q in queues]
            keys = [self.unacked_key, self.unacked_index_key, *(key for key, _ in lists)]
            acknowledged = [int(queue not in self._unacknowledged) for _, queue in lists]
            keys = [self.global_keyprefix + key for key in keys]
            command = ["EVAL", _TAKE, len(keys), *keys, time.time(), *acknowledged]
        self._in_poll = self.client.connection
        self._brpop_sent_at = time.monotonic()
        self.client.connection.send_command(*command)

    def _brpop_read(self: Any, **options: Any) -> bool:
        waited, self._all_empty = self._all_empty, False
        asked = self._brpop_sent_at
        try:
            reply = self.client.parse_response(self.client.connection, "EVAL", **options)
        except self.connection_errors:
            self.client.connection.disconnect()
            raise
        finally:
            self._in_poll = None
            self._flush_brpop_reauth()
        if waited:
            raise Empty  # what rang is fetched next
        if not reply:
            self._all_empty = True
            raise Empty
        key, text = map(bytes_to_str, reply)
        queue = key.removeprefix(self.global_keyprefix).rsplit(self.sep, 1)[0]
        self._queue_cycle.rotate(queue)
        message = loads(text)  # type: ignore[no-untyped-call]
        tag = message["properties"]["delivery_tag"]
        if queue not in self._unacknowledged and time.monotonic() - asked > 1:
            # The worker stood still meanwhile, and another may have the message by now.
            self.qos.restore_by_tag(tag)
            raise Empty
        self.taken = tag
        self.connection._deliver(message, queue)
        return True

    def _bell(self: Any, queue: str) -> str:
        return f"{self.global_keyprefix}longtask:bell:{queue}"

    def _put(self: Any, queue: str, message: dict[str, Any], **options: Any) -> None:
        if self._expires.get(queue) or "_publish_batch" in options:
            super()._put(queue, message, **options)  # type: ignore[misc]
            return
        key = self._q_for_pri(queue, self._get_message_priority(message, reverse=False))
        # A bell that did not ring after all costs a second, less than what a transaction takes each time.
        with self.conn_or_acquire() as client, client.pipeline(transaction=False) as pipe:
            pipe.lpush(key, dumps(message))  # type: ignore[no-untyped-call]
            self._ring(pipe, [queue])
            pipe.execute()

    def _ring(self: Any, pipe: Any, queues: Iterable[str]) -> None:
        for queue in queues:
            # Not through the client's own prefixing, which `_bell` has done.
            pipe.lpush(f"longtask:bell:{queue}", 1)
            pipe.ltrim(f"longtask:bell:{queue}", 0, _RINGS - 1)

    def _do_restore_message(
        self: Any,
        payload: dict[str, Any],
        exchange: str,
        routing_key: str,
        pipe: Any,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        # Under a new tag, so that the worker that has lost the message, and may be alive after all,
        # can neither acknowledge nor renew what another holds now; and counted, so that store.lua can
        # refuse that worker when it starts the task after the other.
        payload["properties"]["delivery_tag"] = str(uuid4())
        deliveries = payload["headers"].get("longtask_deliveries") or 0
        payload["headers"]["longtask_deliveries"] = deliveries + 1
        super()._do_restore_message(payload, exchange, routing_key, pipe, *args, **kwargs)  # type: ignore[misc]
        self._ring(pipe, self._lookup(exchange, routing_key))


class Channel(_LeaseChannel, redis.Channel):
    """A channel that hands messages back under a new tag."""


class SentinelChannel(_LeaseChannel, redis.SentinelChannel):
    """The same where the broker is found by Sentinel."""


class Transport(redis.Transport):
    Channel = Channel


class SentinelTransport(redis.SentinelTransport):
    Channel = SentinelChannel
