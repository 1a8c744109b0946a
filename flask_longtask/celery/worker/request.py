"""Celery's request with its times by this host's clock. It also counts the tasks of lost processes in their chords."""

import time
from datetime import datetime, timedelta
from typing import Any

from billiard.exceptions import WorkerLostError
from celery.app.task import Context
from celery.worker import request
from redis.exceptions import RedisError


class Request(request.Request):  # type: ignore[misc]  # Celery has no types
    """Converts `eta` and `expires` to this host's clock, with which Celery compares them, since it may be wrong."""

    @property
    def eta(self) -> datetime | None:
        return self._by_host(super().eta)

    @property
    def expires(self) -> datetime | None:
        return self._by_host(super().expires)

    @expires.setter
    def expires(self, value: datetime | None) -> None:
        super(Request, type(self)).expires.fset(self, value)

    def on_failure(self, exc_info: Any, *args: Any, **options: Any) -> None:
        """Like Celery's, but also count the task in its chord if its process was lost after its end was stored."""
        super().on_failure(exc_info, *args, **options)
        error = getattr(exc_info.exception, "exc", exc_info.exception)
        body = self.message.payload
        chord = (body[2] or {}).get("chord") if isinstance(body, list | tuple) else None
        if chord and isinstance(error, WorkerLostError):
            self.task.backend.count_in_chord(Context(self.request_dict, chord=chord))

    def _by_host(self, moment: datetime | None) -> datetime | None:
        if moment is None:
            return None
        try:
            ahead = time.time() - self.app.backend.store.clock.now()
        except RedisError:  # with another broker a worker takes messages while Redis is away
            return moment
        return moment + timedelta(seconds=ahead)
