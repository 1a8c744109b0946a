"""The tasks that each browser has started, as one list per browser, newest first. accept.lua adds to it, too."""

from contextlib import suppress
from typing import Any

from redis import Redis
from redis.exceptions import ResponseError

from flask_longtask.store.keys import Keys

#: How many tasks the list of a browser keeps. Older tasks still have their own addresses.
LENGTH = 100

#: Seconds for which a list is kept after the last start.
KEPT = 30 * 24 * 3600


class Browsers:
    def __init__(self, client: Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    def add(self, browser: str, task_id: str) -> None:
        key = self._keys.browser(browser)
        pipeline: Any = self._client.pipeline(transaction=False)
        pipeline.lpush(key, task_id)
        pipeline.ltrim(key, 0, LENGTH - 1)
        pipeline.expire(key, KEPT)
        try:
            pipeline.execute()
        except ResponseError:  # the key does not hold a list
            self._client.delete(key)

    def remove(self, browser: str, task_id: str) -> None:
        with suppress(ResponseError):
            self._client.lrem(self._keys.browser(browser), 1, task_id)

    def tasks(self, browser: str) -> list[str]:
        try:
            task_ids: Any = self._client.lrange(self._keys.browser(browser), 0, -1)
        except ResponseError:
            return []
        return [task_id.decode() for task_id in task_ids]
