"""The result backend for `sentinel://` addresses."""

from typing import Any

from celery.backends import redis as celery_redis
from redis import ConnectionPool

from flask_longtask.celery.backend import RedisBackend


class _Closing:
    """A connection to Redis that is closed when an answer has not come in time, as redis-py's others are.

    Its connections by way of Sentinel stay open: to a master that says nothing any more, and with an answer
    under way that would be taken for that of the next command.
    """

    def read_response(self, *args: Any, disconnect_on_error: bool = True, **options: Any) -> Any:
        return super().read_response(  # type: ignore[misc]
            *args, disconnect_on_error=disconnect_on_error, **options
        )


class SentinelBackend(RedisBackend, celery_redis.SentinelBackend):  # type: ignore[misc]
    """The same where Redis is found by Sentinel."""

    def _get_pool(self, **parameters: Any) -> ConnectionPool:
        pool: ConnectionPool = super()._get_pool(**parameters)
        pool.connection_class = type("Connection", (_Closing, pool.connection_class), {})
        return pool

    def _web_pool(self, wait: float, **parameters: Any) -> ConnectionPool:
        return self._get_pool(**parameters)
