"""A worker's heartbeat, which renews the lease on its messages and finds other workers that are dead."""

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
    """Reports twice a second that this worker is alive, and hands back the messages of dead workers.

    Runs in a thread of its own, since the worker's event loop stands still while the solo pool runs a task and
    while the connection to the broker is lost. It has its own connections for the same reason.
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
        # Without an id, Celery 5.6 takes the methods of two workers for one receiver.
        worker_shutdown.connect(self._withdraw, dispatch_uid=id(self))

    def start(self, consumer: Any) -> None:
        """Called when the worker has connected, for the first time or again."""
        _note_abilities(consumer.pool)
        qos = leases_of(consumer)
        if qos and self._qos is not None:
            running = [r.message for r in tuple(state.active_requests) if not r.acknowledged]
            qos.keep(running)
        self._qos = qos
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, args=(consumer,), daemon=True)
            self._thread.start()

    def stop(self, consumer: Any) -> None:
        """Called when the connection is lost or the worker is stopping. Does nothing: its tasks may still run."""

    def _withdraw(self, **_: Any) -> None:
        """Called when the worker's tasks have ended or were handed back. Stops the heartbeat, forgets the worker."""
        self._has_stopped.set()
        if self._thread is not None:
            self._thread.join()  # another heartbeat would register this worker again
        # If this fails, another worker finds that this one is lost.
        with suppress(RedisError, OperationalError):
            for store in self._consumer.app.stores:
                store.release(WORKER_ID)

    def _run(self, consumer: Any) -> None:
        audit = Audit(consumer.app)
        lease = consumer.app.longtask_settings["LONGTASK_LEASE_SECONDS"]
        interval = min(INTERVAL, lease / 6)
        while not self._has_stopped.is_set():
            try:
                # A worker counts as lost after two thirds of the lease, and each lease has at least six heartbeats.
                self._beat(consumer, lease * 2 / 3, audit)
            except Exception as error:  # whatever the error, the next heartbeat must come
                logger.warning("The heartbeat has failed: %s", error)
            self._has_stopped.wait(interval)

    def _beat(self, consumer: Any, lapse: float, audit: Audit) -> None:
        serving = None if is_stopping() else consumer.task_consumer  # None once it is shut down
        queues = [queue.name for queue in serving.queues] if serving else []
        reserved, is_all = ((), False) if consumer.app.broker_is_store else self._reserved.unsent()
        for store in consumer.app.stores:
            beat = store.workers.beat(
                *(WORKER_ID, consumer.hostname, queues, lapse, reserved, is_all), version=VERSION
            )
            for worker in beat.lost:
                logger.warning("Worker %s is lost: its messages are redelivered", worker)
                if consumer.app.message_store is None:
                    # The broker notices after two missed heartbeats of the lost worker.
                    store.messages.unsettle(3 * consumer.app.conf.broker_heartbeat)
                store.release(worker)
        self._reserved.mark_sent(forgotten=beat.is_new)
        # `beat` is from the last store, the one with the records.
        is_auditor = beat.is_auditor and not is_stopping()
        self._upkeep.look(consumer.app, is_auditor)
        if is_auditor:
            audit.look()


class _Upkeep:
    """Checks Redis for changes by others: to its memory policy, and to the types of our keys."""

    #: Seconds between two checks of the keys, and between two rounds of warnings.
    MENDING = 2.0
    WARNING = 60.0

    def __init__(self) -> None:
        self._mend_at = self._warn_at = 0.0

    def look(self, app: Any, is_auditor: bool) -> None:
        """Mend the keys, which one worker does for all, and write the app's warnings to this worker's log."""
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
    """The tasks that this worker has received and not started. There may be many with an eta."""

    #: Seconds after which all of them are sent again, since the store forgets a worker that it takes for lost.
    REFRESH = 10.0

    def __init__(self) -> None:
        self._sent: set[str] = set()
        self._current: set[str] = set()
        self._refresh_at = 0.0

    def unsent(self) -> tuple[set[str], bool]:
        """Return the tasks that the store does not know yet, and whether they are all of them."""
        is_all = time.monotonic() >= self._refresh_at
        if is_all:
            self._sent = set()
            self._refresh_at = time.monotonic() + self.REFRESH
        self._current = {r.id for r in tuple(state.requests.values()) if not r.time_start}
        return self._current - self._sent, is_all

    def mark_sent(self, forgotten: bool) -> None:
        """Note that the store knows the tasks. `forgotten` says that it had forgotten the earlier ones."""
        self._sent = self._current
        if forgotten:
            self._refresh_at = 0.0


def _note_abilities(pool: Any) -> None:
    """Note what the pool can do, which its tasks put into their records."""
    Pool.has_processes = isinstance(pool, PreforkPool)
    # Neither a thread nor the worker itself can be ended; a greenlet can.
    terminate = getattr(pool.terminate_job, "__func__", None)
    Pool.can_stop_tasks = terminate is not BasePool.terminate_job
