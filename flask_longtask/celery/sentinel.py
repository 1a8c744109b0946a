"""The result backend for `sentinel://` addresses."""

from typing import Any

from celery.backends import redis as celery_redis
from redis import ConnectionPool

from flask_longtask.celery.backend import RedisBackend


class _Closing:
    """A connection to Redis that is closed when an answer does not come in time.

    redis-py does so too, but not for connections found by Sentinel. Those stay open to a silent master, and the next
    command would read the late answer as its own.
    """

    def read_response(self, *args: Any, disconnect_on_error: bool = True, **options: Any) -> Any:
        return super().read_response(  # type: ignore[misc]
            *args, disconnect_on_error=disconnect_on_error, **options
        )


class SentinelBackend(RedisBackend, celery_redis.SentinelBackend):  # type: ignore[misc]
    """The result backend for a Redis that is found by Sentinel."""

    def _get_pool(self, **parameters: Any) -> ConnectionPool:
        pool: ConnectionPool = super()._get_pool(**parameters)
        pool.connection_class = type("Connection", (_Closing, pool.connection_class), {})
        return pool

    def _fast_pool(self) -> ConnectionPool:
        return self._get_pool(**self._impatient)
