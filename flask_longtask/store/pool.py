"""Connections to Redis for a web process, kept ready at less cost than redis-py's own pool keeps them."""

import os
import threading
from typing import Any

from redis import ConnectionPool
from redis.exceptions import MaxConnectionsError


class WebPool(ConnectionPool):
    """Hands out a connection as it is, and lets a crowd of requests wait for one instead of refusing it.

    Before each command redis-py polls the connection for anything left to read, and before and after it
    counts connections for OpenTelemetry: under gevent a GET takes 100 µs of CPU by that pool and 60 by this
    one. Without the poll, a connection that has died since is found out when it is used, and the client's
    one retry takes another.

    Do not use it where an exception can come between a command and its answer, such as a task's soft time
    limit: the next command would be given that answer.
    """

    def __init__(self, wait: float, max_connections: int | None = None, **parameters: Any) -> None:
        self.idle: list[Any] = []
        super().__init__(max_connections=max_connections, **parameters)
        self.wait = wait  # seconds that a request waits for a connection at most

    def reset(self) -> None:
        super().reset()
        self.idle = []
        self.process = os.getpid()
        self.free = threading.Semaphore(self.max_connections)

    def get_connection(self, *args: Any, **options: Any) -> Any:
        if self.process != os.getpid():
            self.reset()  # a forked process must not use its parent's connections
        if not self.free.acquire(timeout=self.wait):
            raise MaxConnectionsError(
                f"All {self.max_connections} connections to Redis are in use."
            )
        try:
            return self.idle.pop()
        except IndexError:
            return self.make_connection()  # it connects when it is used

    def release(self, connection: Any) -> None:
        self.idle.append(connection)
        self.free.release()

    def disconnect(self, inuse_connections: bool = True) -> None:
        for connection in self.idle:
            connection.disconnect()
