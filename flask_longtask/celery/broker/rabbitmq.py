"""Kombu's RabbitMQ transport with a time limit for answers, for web servers, where a user is waiting.

py-amqp's `read_timeout` is a socket option that gevent ignores: a server that accepts connections and never answers
would hold up every request for ever.
"""

from typing import Any

from kombu.transport import pyamqp

from flask_longtask.celery.broker.short_waits import ShortWaits


class Connection(pyamqp.Connection):
    """A connection that waits at most `patience` seconds for an answer; without it, for ever."""

    def __init__(self, *args: Any, patience: float | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self._patience = patience

    def drain_events(self, timeout: float | None = None) -> Any:
        return super().drain_events(self._patience if timeout is None else timeout)


class Transport(ShortWaits, pyamqp.Transport):
    Connection = Connection


class SSLTransport(ShortWaits, pyamqp.SSLTransport):
    Connection = Connection
