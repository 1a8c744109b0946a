"""A worker's heartbeat, by which it keeps its messages. By it, too, it notices that another worker is dead."""

import logging
import threading
import time
from contextlib import suppress
from typing import Any

from celery import bootsteps
from celery.concurrency.base import BasePool
from celery.concurrency.prefork import TaskPool as PreforkPool
from celery.signals import worker_shutdown
from celery.worker import state
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from flask_longtask.celery.attempt import WORKER_ID, Pool, is_stopping
from flask_longtask.celery.broker.transport import QoS
from flask_longtask.celery.worker.audit import Audit
from flask_longtask.celery.worker.step import AFTER_TASKS, leases_of
from flask_longtask.store.presence import INTERVAL
from flask_longtask.versions import VERSION

logger = logging.getLogger(__name__)


class Heartbeat(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no types
    """Says twice a second that this worker is alive, and takes over from workers that are not.

    In a thread of its own, since the worker's event loop stands still while the solo pool runs a task and
    while the connection to the broker is lost; with connections of its own for the same reason.
    """

    requires = AFTER_TASKS

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        self._qos: QoS | None = None
        self._has_stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._consumer = consumer
        self._reserved = _Reserved()
        self._upkeep = _Upkeep()
        # Celery 5.6 takes the methods of two workers for one receiver without an id.
        worker_shutdown.connect(self._withdraw, dispatch_uid=id(self))

    def start(self, consumer: Any) -> None:
        """The worker has connected, for the first time or again."""
        _learn_about(consumer.pool)
        qos = leases_of(consumer)
        if qos and self._qos is not None:
            running = [r.message for r in tuple(state.active_requests) if not r.acknowledged]
            qos.keep(running)
        self._qos = qos
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, args=(consumer,), daemon=True)
            self._thread.start()

    def stop(self, consumer: Any) -> None:
        """The connection is lost, or the worker is being stopped. In the latter case its tasks may still run."""

    def _withdraw(self, **_: Any) -> None:
        """The worker's tasks have ended, or were handed back."""
        self._has_stopped.set()
        if self._thread is not None:
            self._thread.join()  # its heartbeat would make this worker known again
        # If it cannot be said now, another worker finds that this one is lost.
        with suppress(RedisError, OperationalError):
            for store in self._consumer.app.stores:
                store.release(WORKER_ID)

    def _run(self, consumer: Any) -> None:
        audit = Audit(consumer.app)
        lease = consumer.app.longtask_settings["LONGTASK_LEASE_SECONDS"]
        interval = min(INTERVAL, lease / 6)
        while not self._has_stopped.is_set():
            try:
                # A worker is taken for lost after two thirds of the lease, and looked for six times in it.
                self._beat(consumer, lease * 2 / 3, audit)
            except Exception as error:  # whatever it was, the next heartbeat must come
                logger.warning("The heartbeat has failed: %s", error)
            self._has_stopped.wait(interval)

    def _beat(self, consumer: Any, lapse: float, audit: Audit) -> None:
        serving = None if is_stopping() else consumer.task_consumer  # None once it is shut down
        queues = [queue.name for queue in serving.queues] if serving else []
        reserved, is_all = ((), False) if consumer.app.broker_is_store else self._reserved.news()
        for store in consumer.app.stores:
            beat = store.workers.beat(
                *(WORKER_ID, consumer.hostname, queues, lapse, reserved, is_all), version=VERSION
            )
            for worker in beat.lost:
                logger.warning("Worker %s is lost: its tasks are handed out again", worker)
                if consumer.app.message_store is None:
                    # The broker finds out by missing its heartbeats, of which it waits for two.
                    store.messages.unsettle(3 * consumer.app.conf.broker_heartbeat)
                store.release(worker)
        self._reserved.told(forgotten=beat.is_new)
        # The last of them is the one with the records.
        is_auditor = beat.is_auditor and not is_stopping()
        self._upkeep.look(consumer.app, is_auditor)
        if is_auditor:
            audit.look()


class _Upkeep:
    """Looks after what others may do to Redis: its memory policy, and what they write to keys of ours."""

    #: Seconds between two looks at the keys, and at the policy.
    MENDING = 2.0
    WARNING = 60.0

    def __init__(self) -> None:
        self._mend_at = self._warn_at = 0.0

    def look(self, app: Any, is_auditor: bool) -> None:
        """Mend the keys, which one worker does for all, and say in this worker's log what is to be seen to."""
        now = time.monotonic()
        if is_auditor and now >= self._mend_at:
            self._mend_at = now + self.MENDING
            for store in app.stores:
                store.mend()
        if now >= self._warn_at:
            self._warn_at = now + self.WARNING
            for warning in app.warnings():
                logger.warning("%s", warning)


class _Reserved:
    """The tasks that this worker has received and not started. There may be many that wait for their time."""

    #: Seconds after which all of them are told again: the store forgets a worker that it takes for lost.
    REFRESH = 10.0

    def __init__(self) -> None:
        self._told: set[str] = set()
        self._now: set[str] = set()
        self._refresh_at = 0.0

    def news(self) -> tuple[set[str], bool]:
        """Those that were not told yet, and whether that is all of them."""
        is_all = time.monotonic() >= self._refresh_at
        if is_all:
            self._told = set()
            self._refresh_at = time.monotonic() + self.REFRESH
        self._now = {r.id for r in tuple(state.requests.values()) if not r.time_start}
        return self._now - self._told, is_all

    def told(self, forgotten: bool) -> None:
        """They were told. `forgotten` are those of before: this worker was taken for lost."""
        self._told = self._now
        if forgotten:
            self._refresh_at = 0.0


def _learn_about(pool: Any) -> None:
    """Note what the pool cannot do, for what its tasks say of themselves."""
    Pool.has_processes = isinstance(pool, PreforkPool)
    # Neither a thread nor the worker itself can be ended; a greenlet can.
    terminate = getattr(pool.terminate_job, "__func__", None)
    Pool.can_stop_tasks = terminate is not BasePool.terminate_job
