"""A Celery app whose Redis and broker are in this process: fakeredis and Kombu's memory. What runs tasks is elsewhere.

The store, its scripts and the result backend are those of any app: only the connection to Redis is another.
"""

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

#: What `INFO` answers, which fakeredis does not know: as much of it as is asked for here.
_INFO = r"""
local time = redis.call('TIME')
return string.format('server_time_usec:%.0f', time[1] * 1000000 + time[2])
    .. '\r\nuptime_in_seconds:3600\r\nmaxmemory:0\r\nmaxmemory_policy:noeviction\r\n'
"""

#: Connections and producers that may be in use at the same moment.
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
    """A Redis in this process that nobody else knows: the parameters by which a ConnectionPool connects to it."""
    return {
        "connection_class": FakeRedisConnection,
        "server": FakeServer(),
        "command_packer": _Packer(),
        "db": 0,
    }


class _Backend(RedisBackend):
    def __init__(self, app: Celery) -> None:
        super().__init__(app=app, url="redis://")
        self.connparams = new_redis()


def _new_broker() -> type:
    """A broker in this process that nobody else knows: the transport that leads to it."""
    channel = type(
        "Channel", (memory.Channel,), {"queues": {}, "events": defaultdict(set), "do_restore": True}
    )
    names = {"Channel": channel, "global_state": virtual.BrokerState(), "polling_interval": 0.01}  # type: ignore[no-untyped-call]
    return type("Transport", (ShortWaits, memory.Transport), names)


class Servers:
    """What stands in for Redis and the broker."""

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
    """A Celery app with `servers` in the place of its own."""

    servers: Servers

    @classmethod
    @contextmanager
    def put_into(cls, celery_app: Celery) -> Iterator[Self]:
        """Let an app be one of this class until the end."""
        if isinstance(celery_app, InMemory):
            raise RuntimeError(
                f"The Celery app {celery_app.main!r} is in eager() or worker() already."
            )
        theirs = type(celery_app), type(celery_app.amqp)
        # By it Celery does without messages, and so without all that depends on them.
        always_eager, celery_app.conf.task_always_eager = celery_app.conf.task_always_eager, False
        servers = celery_app.__dict__["servers"] = Servers(celery_app)
        adapt(celery_app, cls)
        adapt(celery_app.amqp, _InMemoryAMQP)
        try:
            yield celery_app
        finally:
            servers.close()
            celery_app.__class__, celery_app.amqp.__class__ = theirs
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

    # Not class attributes: what an app has found out of itself before would go before these.

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
