"""Receives the changes of tasks as they happen, on a connection on which Redis publishes them."""

from collections.abc import Collection
from typing import Any

from redis import Redis

from flask_longtask.store.keys import Keys

#: How many changes are received at a time.
AT_ONCE = 100


class Changes:
    """Tells which tasks have changed. Use `Tasks.read` for their present state.

    Subscribing to a task counts as a change of it, so that no change between a first read and the subscription is
    lost. Only one thread may read. Any thread may call `subscribe` and `unsubscribe`, one at a time.
    Every method raises redis.exceptions.RedisError or OSError when Redis is away.
    """

    def __init__(self, client: Redis, keys: Keys) -> None:
        self._keys = keys
        pool = client.connection_pool
        # Not from the pool, since the connection serves nothing else from now on.
        self._connection: Any = pool.connection_class(**pool.connection_kwargs)
        self._connection.connect()

    def subscribe(self, task_ids: Collection[str]) -> None:
        self._send("SUBSCRIBE", task_ids)

    def unsubscribe(self, task_ids: Collection[str]) -> None:
        self._send("UNSUBSCRIBE", task_ids)

    def _send(self, command: str, task_ids: Collection[str]) -> None:
        if task_ids:
            self._connection.send_command(command, *map(self._keys.document, task_ids))

    def wait(self, timeout: float) -> set[str]:
        """Wait up to `timeout` seconds for a change. Return all tasks whose changes have been received."""
        prefix = len(self._keys.documents)
        changed: set[str] = set()
        while len(changed) < AT_ONCE and self._connection.can_read(timeout=timeout):
            kind, channel, _ = self._connection.read_response(push_request=True)
            if kind != b"unsubscribe":
                changed.add(channel.decode()[prefix:])
            timeout = 0
        return changed

    def close(self) -> None:
        self._connection.disconnect()
