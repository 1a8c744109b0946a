"""A message that a worker has received: its times are Redis's, and are told here by this host's clock."""

import time
from datetime import datetime, timedelta

from celery.worker import request
from redis.exceptions import RedisError


class Request(request.Request):  # type: ignore[misc]  # Celery has no types
    """Celery compares `eta` and `expires` with the host's clock, which may be an hour off."""

    @property
    def eta(self) -> datetime | None:
        return self._by_host(super().eta)

    @property
    def expires(self) -> datetime | None:
        return self._by_host(super().expires)

    @expires.setter
    def expires(self, value: datetime | None) -> None:
        super(Request, type(self)).expires.fset(self, value)

    def _by_host(self, moment: datetime | None) -> datetime | None:
        if moment is None:
            return None
        try:
            ahead = time.time() - self.app.backend.store.clock.now()
        except RedisError:  # with another broker a worker takes messages while Redis is away
            return moment
        return moment + timedelta(seconds=ahead)
