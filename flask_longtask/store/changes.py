"""The changes of tasks as they happen: a connection that Redis publishes them on."""

from collections.abc import Collection
from typing import Any

from redis import Redis

from flask_longtask.store.keys import Keys

#: Changes taken in at a time.
AT_ONCE = 100


class Changes:
    """Which tasks have changed. What they are now is for `Tasks.read` to say.

    Subscribing to a task counts as a change of it, so that nothing is lost between a first look and the
    subscription. One thread reads; `subscribe` and `unsubscribe` may be called from any, one at a time.
    Every method raises redis.exceptions.RedisError or OSError when Redis is away.
    """

    def __init__(self, client: Redis, keys: Keys) -> None:
        self._keys = keys
        pool = client.connection_pool
        # Not one of the pool's: it serves nothing else from now on.
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
        """The tasks that have changed: waits for the first, in seconds, and takes along what has come with it."""
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
