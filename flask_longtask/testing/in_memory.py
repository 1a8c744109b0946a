"""A Celery app whose Redis (fakeredis) and broker (Kombu's memory transport) are in this process. It runs no tasks.

The store, its scripts and the result backend are the usual ones; only the connection to Redis differs.
"""

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from fakeredis import FakeRedisConnection, FakeServer
from kombu.connection import Connection
from kombu.pools import ProducerPool
from kombu.transport import memory, virtual
from redis import ConnectionPool
from redis.connection import PythonRespSerializer

from flask_longtask.celery.adapting import adapt
from flask_longtask.celery.app import Celery
from flask_longtask.celery.backend import RedisBackend
from flask_longtask.celery.broker.short_waits import ShortWaits
from flask_longtask.celery.sender import AMQP

#: A script in place of `INFO`, which fakeredis does not implement, with the fields that the store reads.
_INFO = r"""
local time = redis.call('TIME')
return string.format('server_time_usec:%.0f', time[1] * 1000000 + time[2])
    .. '\r\nuptime_in_seconds:3600\r\nmaxmemory:0\r\nmaxmemory_policy:noeviction\r\n'
"""

#: The most connections, and the most producers, in use at a time.
_POOL_LIMIT = 100


class _Packer(PythonRespSerializer):
    """Packs commands for fakeredis."""

    def __init__(self) -> None:
        super().__init__(6000, ConnectionPool().get_encoder().encode)

    def pack(self, *args: Any) -> list[bytes]:
        if args[0] == "INFO":
            args = ("EVAL", _INFO, 0)
        packed: list[bytes] = super().pack(*args)  # type: ignore[no-untyped-call]
        return packed


def new_redis() -> dict[str, Any]:
    """Make a private Redis in this process. Returns the parameters with which a ConnectionPool connects to it."""
    server = FakeServer()
    # The garbage collector may run in the middle of a command, and Celery's AsyncResult.__del__ unsubscribes. With
    # fakeredis's own lock the thread would wait for itself: https://github.com/jamesls/fakeredis/issues/297
    server.lock = threading.RLock()  # type: ignore[assignment]  # annotated as a Lock
    return {
        "connection_class": FakeRedisConnection,
        "server": server,
        "command_packer": _Packer(),
        "db": 0,
    }


class _Backend(RedisBackend):
    def __init__(self, app: Celery) -> None:
        super().__init__(app=app, url="redis://")
        self.connparams = new_redis()


def _new_broker() -> type:
    """Make a private broker in this process. Returns the transport that leads to it."""
    channel = type(
        "Channel", (memory.Channel,), {"queues": {}, "events": defaultdict(set), "do_restore": True}
    )
    names = {"Channel": channel, "global_state": virtual.BrokerState(), "polling_interval": 0.01}  # type: ignore[no-untyped-call]
    return type("Transport", (ShortWaits, memory.Transport), names)


class Servers:
    """The replacements for Redis and the broker."""

    def __init__(self, app: Celery) -> None:
        self.backend = _Backend(app)
        self.transport = _new_broker()
        self.connections = self.connect().Pool(_POOL_LIMIT)  # type: ignore[no-untyped-call]
        self.producers = ProducerPool(  # type: ignore[no-untyped-call]
            self.connections, limit=_POOL_LIMIT
        )

    def connect(self) -> Connection:
        return Connection(  # type: ignore[no-untyped-call]
            "memory://localhost", transport=self.transport
        )

    def close(self) -> None:
        self.producers.force_close_all()  # type: ignore[no-untyped-call]
        self.connections.force_close_all()
        self.backend.result_consumer.stop()


class InMemory(Celery):
    """A Celery app that uses `servers` instead of its configured Redis and broker."""

    servers: Servers

    @classmethod
    @contextmanager
    def put_into(cls, celery_app: Celery) -> Iterator[Self]:
        """Make an app an instance of this class until the context ends."""
        if isinstance(celery_app, InMemory):
            raise RuntimeError(
                f"The Celery app {celery_app.main!r} is in eager() or worker() already."
            )
        original_classes = type(celery_app), type(celery_app.amqp)
        # With task_always_eager Celery sends no messages, and skips all that depends on them.
        always_eager, celery_app.conf.task_always_eager = celery_app.conf.task_always_eager, False
        servers = celery_app.__dict__["servers"] = Servers(celery_app)
        adapt(celery_app, cls)
        adapt(celery_app.amqp, _InMemoryAMQP)
        try:
            yield celery_app
        finally:
            servers.close()
            celery_app.__class__, celery_app.amqp.__class__ = original_classes
            celery_app.conf.task_always_eager = always_eager
            del celery_app.__dict__["servers"]

    @property
    def backend(self) -> RedisBackend:
        return self.servers.backend

    def connection_for_read(self, *args: Any, **options: Any) -> Connection:
        return self.servers.connect()

    connection_for_write = connection_for_read

    @property
    def pool(self) -> Any:
        return self.servers.connections

    # Properties, not class attributes: values that the app has cached before would hide class attributes.

    @property
    def broker_is_store(self) -> bool:
        return False

    @property
    def message_store(self) -> None:
        return None


class _InMemoryAMQP(AMQP):
    @property
    def producer_pool(self) -> ProducerPool:
        return self.app.servers.producers  # type: ignore[no-any-return]
