"""Kombu's RabbitMQ transport for whoever must not wait for it: a web server with a person before it.

py-amqp has a `read_timeout`, but as an option of the socket that gevent does not know, so that a server which
takes connections and says nothing would hold every request for ever.
"""

from typing import Any

from kombu.transport import pyamqp


class Connection(pyamqp.Connection):
    """`patience` is how many seconds any answer is waited for; without it a connection waits for ever."""

    def __init__(self, *args: Any, patience: float | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self._patience = patience

    def drain_events(self, timeout: float | None = None) -> Any:
        return super().drain_events(self._patience if timeout is None else timeout)


class Transport(pyamqp.Transport):
    Connection = Connection


class SSLTransport(pyamqp.SSLTransport):
    Connection = Connection
