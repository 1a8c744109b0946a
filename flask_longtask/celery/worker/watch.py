"""Ends tasks of this worker that must not go on. Other workers are not watched here."""

import logging
import time
from collections.abc import Mapping
from typing import Any

from celery import bootsteps
from celery.worker import state
from redis.exceptions import RedisError

from flask_longtask.celery.attempt import WORKER_ID, Pool
from flask_longtask.celery.worker.stalls import Stalls
from flask_longtask.celery.worker.step import AFTER_TASKS, END

logger = logging.getLogger(__name__)

#: Seconds between two checks of the tasks that run here.
WATCH_INTERVAL = 1.0


class Watch(bootsteps.StartStopStep):  # type: ignore[misc]
    """Ends running tasks that must not go on and do not notice it by themselves. Also finds lost processes.

    A cancelled task stops at its next report; if it does not, it is ended with its process after a grace period. A
    task that another worker has taken over, because this one was cut off for longer than the lease, is ended at once,
    since two workers must not do the same work. A task that is silent for longer than its `stall_seconds` is ended and
    tried again. With a pool that cannot end tasks, they go on.
    """

    requires = AFTER_TASKS

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        self._timer: Any = None
        #: When each run was first seen here, by this host's monotonic clock.
        self._seen: dict[tuple[str, int], float] = {}
        #: The runs whose record has named them as the current attempt.
        self._begun: set[tuple[str, int]] = set()
        self._stalls = Stalls()

    def start(self, consumer: Any) -> None:
        self._timer = consumer.timer.call_repeatedly(WATCH_INTERVAL, self._look, (consumer,))

    def stop(self, consumer: Any) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look(self, consumer: Any) -> None:
        # By itself, the pool checks for lost processes only every five seconds.
        consumer.pool.maintain_pool()
        running = [request for request in tuple(state.active_requests) if request.time_start]
        try:
            stored = consumer.app.backend.read([request.id for request in running])
        except RedisError:
            self._stalls.note_outage()
            return  # the next check is a second away
        self._stalls.note_look(consumer.app.backend.store.clock.now())
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
                request.acknowledge()  # else the worker would still count its message as held
            elif _is_here(request, record) and (
                record.get("running") or self._stalls.is_unsure(request)
            ):
                self._stalls.look(consumer, request, record)

    def _is_superseded(self, consumer: Any, request: Any, record: Mapping[str, Any]) -> bool:
        """Whether the attempt on record is a later one than the one that runs here.

        The record of a task that has just been taken over still names the lost worker. So an attempt that was never
        on record is the current one if this worker holds its message.
        """
        if _is_here(request, record):
            return False
        if _run_of(request) in self._begun:
            return True
        message, store = request.message, consumer.app.message_store
        if store is None:  # the broker redelivers a message when its connection is lost
            return message.channel is not consumer.task_consumer.channel
        try:
            return message.delivery_tag not in store.messages.held(WORKER_ID)
        except RedisError:
            return False  # the next check is a second away

    def _is_overdue(self, consumer: Any, request: Any, record: Mapping[str, Any]) -> bool:
        grace = consumer.app.longtask_settings["LONGTASK_CANCEL_GRACE_SECONDS"]
        # A task that was cancelled while it waited ends by itself when it begins. Its process may already run
        # another task and must not be ended.
        here_for = time.monotonic() - self._seen[_run_of(request)]
        cancelled_for = consumer.app.backend.store.clock.now() - record["cancelled"]
        return bool(min(here_for, cancelled_for) > grace)


def _run_of(request: Any) -> tuple[str, int]:
    return request.id, request.worker_pid


def _is_here(request: Any, record: Mapping[str, Any]) -> bool:
    """Whether the attempt on record is the one that this worker runs."""
    is_process = not Pool.has_processes or record.get("pid") == request.worker_pid
    return record.get("worker") == WORKER_ID and is_process
