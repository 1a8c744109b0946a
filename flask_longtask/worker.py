"""What a worker does beside running tasks.

It says that it is alive and renews the leases of its messages (`Heartbeat`), ends tasks that must not run
any more (`Watch`), and hands running tasks back when it is stopped (`HandBack`).
"""

import logging
import threading
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from celery import bootsteps
from celery.signals import worker_shutting_down
from celery.worker import state
from redis.exceptions import RedisError

from flask_longtask import presence
from flask_longtask.backend import worker_name
from flask_longtask.transport import QoS, Sight

logger = logging.getLogger(__name__)

#: Seconds between two looks at the tasks that run here.
WATCH_INTERVAL = 1.0

_AFTER_TASKS = ("celery.worker.consumer.tasks:Tasks",)


class Heartbeat(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no types
    """Says twice a second that this worker is alive and holds its messages.

    In a thread of its own, since the worker's event loop stands still while the solo pool runs a task and
    while the connection to the broker is lost; with a connection of its own for the same reason.
    """

    requires = _AFTER_TASKS

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        self._qos: QoS | None = None
        self._sight = Sight()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, consumer: Any) -> None:
        """The worker has connected, for the first time or again."""
        qos = _leases(consumer)
        if qos and self._qos is not None:
            running = [r.message for r in tuple(state.active_requests) if not r.acknowledged]
            qos.take_over(self._qos, running)
        if qos:
            qos.sight = self._sight
        self._qos = qos
        if self._thread is None:
            queues = [queue.name for queue in consumer.task_consumer.queues]
            self._thread = threading.Thread(target=self._beat, args=(consumer, queues), daemon=True)
            self._thread.start()

    def stop(self, consumer: Any) -> None:
        """The connection is lost, or the worker is being stopped."""
        if _is_stopping():
            self._stopping.set()

    def _beat(self, consumer: Any, queues: list[str]) -> None:
        client = consumer.app.backend.web_client
        worker = worker_name(consumer.hostname)
        broker = consumer.app.connection_for_write()  # which never keeps it waiting
        lease = consumer.app.flask_app.config["LONGTASK_LEASE_SECONDS"]
        interval = min(presence.INTERVAL, lease / 6)
        while not self._stopping.is_set():
            for sign in (
                partial(presence.announce, client, worker, queues),
                partial(self._renew_leases, broker),
            ):
                try:
                    sign()
                except Exception as error:  # whatever it was, the next sign must be given
                    logger.warning("No sign of life could be given: %s", error)
                    broker.collect()
            self._stopping.wait(interval)
        with suppress(RedisError):  # then it runs out by itself
            presence.withdraw(client, worker, queues)

    def _renew_leases(self, broker: Any) -> None:
        if self._qos:
            self._qos.renew(broker.default_channel)
            self._sight.seen()


class Watch(bootsteps.StartStopStep):  # type: ignore[misc]
    """Ends running tasks that must not run any more, and do not notice by themselves.

    Finds those whose process was lost, too.

    One that was cancelled stops at its next report; one that reports nothing is terminated after a grace
    period. One that another worker has taken up, because this one was cut off for longer than the lease,
    is terminated at once: two must not do the same work.
    """

    requires = _AFTER_TASKS

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        self._timer: Any = None
        #: The runs, by task and process, that were on record as the present one.
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
        self._begun &= {(request.id, request.worker_pid) for request in running}
        for request, known in zip(running, stored, strict=True):
            record = (known and known.record) or {}
            if record.get("running") and _is_here(consumer, request, record):
                self._begun.add((request.id, request.worker_pid))
            if record.get("cancelled") and self._is_overdue(consumer, request, record):
                logger.warning("Terminating %s: it was cancelled", request.humaninfo())
                request.terminate(consumer.pool)
            elif record.get("running") and self._is_superseded(consumer, request, record):
                logger.warning("Terminating %s: another worker runs it", request.humaninfo())
                request.cancel(consumer.pool, emit_retry=False)

    def _is_superseded(self, consumer: Any, request: Any, record: Mapping[str, Any]) -> bool:
        """Whether the attempt on record is a later one than the one that runs here.

        One that has only just been taken over is on record as its lost worker's still.
        """
        if _is_here(consumer, request, record):
            return False
        # Only our transport for Redis counts how often a message is handed out again.
        deliveries = request.message.headers.get("longtask_deliveries") or 0
        handed_out_again = (record.get("deliveries") or 0) > deliveries
        return handed_out_again or (request.id, request.worker_pid) in self._begun

    def _is_overdue(self, consumer: Any, request: Any, record: Mapping[str, Any]) -> bool:
        grace = timedelta(seconds=consumer.app.flask_app.config["LONGTASK_CANCEL_GRACE_SECONDS"])
        # One that was cancelled while it waited ends by itself when it begins: its process, which may have
        # gone on to another task already, must not be ended for it.
        started = datetime.fromtimestamp(request.time_start, UTC)
        since = max(started, datetime.fromisoformat(record["cancelled"]))
        return datetime.now(UTC) - since > grace


class HandBack(bootsteps.StartStopStep):  # type: ignore[misc]
    """Hands the running tasks back at once when the worker is stopped, so that they go on elsewhere.

    Celery's warm shutdown waits for them instead, which may take longer than a deploy has.
    """

    requires = _AFTER_TASKS

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        self._is_connected = False

        def end_tasks(**_: Any) -> None:
            # Celery calls no step's `stop` then, and waits for tasks that in turn wait for Redis. Their
            # leases lapse.
            if not self._is_connected:
                consumer.cancel_active_requests()

        self._end_tasks = end_tasks  # the signal keeps no reference
        worker_shutting_down.connect(end_tasks)

    def start(self, consumer: Any) -> None:
        self._is_connected = True

    def stop(self, consumer: Any) -> None:
        self._is_connected = False
        if not _is_stopping():
            return  # only the connection is lost
        backend, worker = consumer.app.backend, worker_name(consumer.hostname)
        # Those that a process has, though it may not have said yet that it has begun, too.
        task_ids = [request.id for request in tuple(state.reserved_requests)]
        with suppress(*consumer.connection_errors):
            consumer.task_consumer.cancel()
        consumer.cancel_active_requests()
        with suppress(*consumer.connection_errors):
            for task_id, known in zip(task_ids, backend.read(task_ids), strict=True):
                record = (known and known.record) or {}
                if record.get("running") and record.get("worker") == worker:
                    backend.hand_back(task_id)
            # Other brokers hand a message out again when the connection is closed, which is next.
            if qos := _leases(consumer):
                qos.restore_unacked()  # type: ignore[no-untyped-call]


def _leases(consumer: Any) -> QoS | None:
    """What the worker holds by leases of ours; None with a broker that needs none."""
    qos = getattr(consumer.task_consumer.channel, "qos", None)
    return qos if isinstance(qos, QoS) else None


def _is_stopping() -> bool:
    # Celery keeps the exit code here once it stops, and 0 is one.
    codes = state.should_stop, state.should_terminate
    return any(code is not None and code is not False for code in codes)


def _is_here(consumer: Any, request: Any, record: Mapping[str, Any]) -> bool:
    """Whether the attempt on record is the one that this worker runs."""
    here = worker_name(consumer.hostname), request.worker_pid
    return (record.get("worker"), record.get("pid")) == here
