"""Kombu's RabbitMQ transport with a time limit for answers, for web servers: a person waits there.

py-amqp has a `read_timeout`, but as an option of the socket that gevent does not know, so that a server which
takes connections and says nothing would hold every request for ever.
"""

from typing import Any

from kombu.transport import pyamqp

from flask_longtask.celery.broker.short_waits import ShortWaits


class Connection(pyamqp.Connection):
    """`patience` is how many seconds any answer is waited for; without it a connection waits for ever."""

    def __init__(self, *args: Any, patience: float | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self._patience = patience

    def drain_events(self, timeout: float | None = None) -> Any:
        return super().drain_events(self._patience if timeout is None else timeout)


class Transport(ShortWaits, pyamqp.Transport):
    Connection = Connection


class SSLTransport(ShortWaits, pyamqp.SSLTransport):
    Connection = Connection
