"""Finds tasks whose messages are gone, and ends them. One worker at a time does this."""

import logging
import time
from typing import Any

from kombu.exceptions import OperationalError

from flask_longtask.celery.broker.queues import count_waiting
from flask_longtask.store.messages import SENDING_GRACE

logger = logging.getLogger(__name__)

#: Seconds between two checks. A lost message must be reported within 10 seconds.
INTERVAL = 2.0

#: Checks in a row that must find too few messages in another broker, which is not counted at the same moment as the
#: records.
SURE_AFTER = 3


class Audit:
    def __init__(self, app: Any) -> None:
        self._app = app
        self._next = 0.0
        self._too_few = 0  # checks in a row

    def look(self) -> None:
        """Check, if it is time to. Raises redis.exceptions.RedisError when Redis does not answer."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + INTERVAL
        store, ready = self._app.backend.store, None
        if not self._app.broker_is_store:
            try:
                # A task may have been sent to a queue that this worker's settings do not name.
                ready = count_waiting(self._app, *{*self._app.amqp.queues, *store.tasks.queues()})
            except OperationalError:
                # Messages cannot be counted while their broker is away, nor before it has redelivered them.
                store.messages.unsettle(SENDING_GRACE)
                return
        too_few, lost = store.messages.missing(ready, sure=self._too_few >= SURE_AFTER - 1)
        self._too_few = self._too_few + 1 if too_few else 0
        for task_id in lost:
            self._app.backend.lose(task_id)
