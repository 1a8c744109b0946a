"""Ends tasks that run in this worker and must not any more. Other workers are no subject here."""

import logging
import time
from collections.abc import Mapping
from typing import Any

from celery import bootsteps
from celery.worker import state
from redis.exceptions import RedisError

from flask_longtask.celery.attempt import WORKER_ID, Pool
from flask_longtask.celery.worker.step import AFTER_TASKS, END

logger = logging.getLogger(__name__)

#: Seconds between two looks at the tasks that run here.
WATCH_INTERVAL = 1.0


class Watch(bootsteps.StartStopStep):  # type: ignore[misc]
    """Ends running tasks that must not run any more, and do not notice by themselves.

    Finds those whose process was lost, too.

    One that was cancelled stops at its next report; one that does not is ended with its process after a
    grace period. One that another worker has taken up, because this one was cut off for longer than the lease,
    is ended at once: two must not do the same work. A pool that cannot end a task leaves it alone.
    """

    requires = AFTER_TASKS

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        self._timer: Any = None
        #: Since when each run is seen here, by this host's monotonic clock.
        self._seen: dict[tuple[str, int], float] = {}
        #: The runs that were on record as the present one.
        self._begun: set[tuple[str, int]] = set()

    def start(self, consumer: Any) -> None:
        self._timer = consumer.timer.call_repeatedly(WATCH_INTERVAL, self._look, (consumer,))

    def stop(self, consumer: Any) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look(self, consumer: Any) -> None:
        # The pool itself looks every five seconds for tasks whose process is lost.
        consumer.pool.maintain_pool()
        running = [request for request in tuple(state.active_requests) if request.time_start]
        try:
            stored = consumer.app.backend.read([request.id for request in running])
        except RedisError:
            return  # the next look is a second away
        runs = {_run_of(request) for request in running}
        self._begun &= runs
        now = time.monotonic()
        self._seen = {run: self._seen.get(run, now) for run in runs}
        for request, known in zip(running, stored, strict=True):
            record = (known and known.record) or {}
            if record.get("running") and _is_here(request, record):
                self._begun.add(_run_of(request))
            if not Pool.can_stop_tasks:
                continue
            if record.get("cancelled") and self._is_overdue(consumer, request, record):
                logger.warning("Ending %s: it was cancelled", request.humaninfo())
                request.terminate(consumer.pool, signal=END)
            elif record.get("running") and self._is_superseded(consumer, request, record):
                logger.warning("Ending %s: another worker runs it", request.humaninfo())
                request.cancel(consumer.pool, signal=END, emit_retry=False)
                request.acknowledge()  # else its message would count as one of those that may run here

    def _is_superseded(self, consumer: Any, request: Any, record: Mapping[str, Any]) -> bool:
        """Whether the attempt on record is a later one than the one that runs here.

        One that has only just been taken over is on record as its lost worker's still. It is the present one if it
        never was on record, and this worker holds its message.
        """
        if _is_here(request, record):
            return False
        if _run_of(request) in self._begun:
            return True
        message, store = request.message, consumer.app.message_store
        if (
            store is None
        ):  # the broker hands a message out again when the connection is lost that it came by
            return message.channel is not consumer.task_consumer.channel
        try:
            return message.delivery_tag not in store.messages.held(WORKER_ID)
        except RedisError:
            return False  # the next look is a second away

    def _is_overdue(self, consumer: Any, request: Any, record: Mapping[str, Any]) -> bool:
        grace = consumer.app.longtask_settings["LONGTASK_CANCEL_GRACE_SECONDS"]
        # One that was cancelled while it waited ends by itself when it begins: its process, which may have
        # gone on to another task already, must not be ended for it.
        here_for = time.monotonic() - self._seen[_run_of(request)]
        cancelled_for = consumer.app.backend.store.clock.now() - record["cancelled"]
        return bool(min(here_for, cancelled_for) > grace)


def _run_of(request: Any) -> tuple[str, int]:
    return request.id, request.worker_pid


def _is_here(request: Any, record: Mapping[str, Any]) -> bool:
    """Whether the attempt on record is the one that this worker runs."""
    is_process = not Pool.has_processes or record.get("pid") == request.worker_pid
    return record.get("worker") == WORKER_ID and is_process
