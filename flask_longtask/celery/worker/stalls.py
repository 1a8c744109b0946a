"""Ends attempts that are silent for longer than their task's `stall_seconds`, and gives their messages back."""

import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from weakref import WeakSet

from celery.app.task import Context
from redis.exceptions import RedisError

from flask_longtask.celery.attempt import WORKER_ID
from flask_longtask.celery.stalls import TaskStalled
from flask_longtask.celery.worker.step import END, leases_of
from flask_longtask.store import Stall

logger = logging.getLogger(__name__)

#: Seconds between two looks after which this worker, or its connection, is taken to have stood still.
LONGEST_GAP = 3.0


class Stalls:
    """Decides which tasks of this worker have stalled. Redis's clock says how long they have been silent.

    While Redis was away, or this worker stood still, no task could say anything, so silence counts from then on.
    """

    def __init__(self) -> None:
        #: Since when this worker sees what its tasks say, by Redis's clock; None if it does not.
        self._since: float | None = None
        self._looked_at = 0.0  # by this host's monotonic clock
        #: Runs that may be on record as stalled, though no answer has said so. They are asked about again.
        self._unsure: WeakSet[Any] = WeakSet()

    def note_outage(self) -> None:
        self._since = None

    def note_look(self, now: float) -> None:
        stood_still = time.monotonic() - self._looked_at > LONGEST_GAP
        if self._since is None or stood_still:
            self._since = now
        self._looked_at = time.monotonic()

    def is_unsure(self, request: Any) -> bool:
        """Whether the record of this run may say that it has stalled, because an answer of Redis was lost."""
        return request in self._unsure

    def look(self, consumer: Any, request: Any, record: Mapping[str, Any]) -> None:
        """End a task that runs here if it has stalled."""
        seconds = request.task.stall_seconds
        backend, since = consumer.app.backend, self._since
        if not seconds or since is None:
            return
        try:
            heard = max(since, *(record.get(field) or 0 for field in ("started", "reported")))
            if backend.store.clock.now() <= heard + seconds:
                return
            stall = Stall(record["attempt"], seconds, since)
            # The store decides, since the task may have said something in this moment.
            if not backend.stall(request.id, WORKER_ID, stall):
                return
        except RedisError:  # it may be full, and then the task cannot say anything either
            self._unsure.add(request)
            self.note_outage()
            return
        logger.warning("Ending %s: it has been silent for %g s", request.humaninfo(), seconds)
        _end(consumer, request)


def _end(consumer: Any, request: Any) -> None:
    """End the attempt with its process or greenlet. If its message is still held, the task is tried again."""
    # Celery takes an ended greenlet for a success, and must not acknowledge its message.
    is_held, request.acknowledged = not request.acknowledged, True
    request.cancel(consumer.pool, signal=END, emit_retry=False)
    if not is_held:
        _fail(consumer, request)
    elif qos := leases_of(consumer):
        with suppress(RedisError):  # then it is handed back when the worker has connected again
            qos.hand_back(request.message.delivery_tag)
    else:
        request.message.reject_log_error(logger, consumer.connection_errors, requeue=True)


def _fail(consumer: Any, request: Any) -> None:
    """Fail a task whose message was acknowledged when it started, so that no attempt follows."""
    body = request.message.payload
    embedded = (body[2] if isinstance(body, list | tuple) else body) or {}
    error = TaskStalled(f"It stalled: nothing was reported for {request.task.stall_seconds:g} s.")
    context = Context(request.request_dict, **embedded)
    consumer.app.backend.mark_as_failure(request.id, error, request=context)
