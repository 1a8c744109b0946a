"""Hands this worker's tasks back when it is told to stop."""

import os
import signal
from contextlib import suppress
from typing import Any

from celery import bootsteps
from celery.signals import worker_shutting_down
from celery.worker import state

from flask_longtask.celery.attempt import WORKER_ID, Pool, is_stopping
from flask_longtask.celery.worker.step import AFTER_TASKS, END, leases_of


class HandBack(bootsteps.StartStopStep):  # type: ignore[misc]
    """Hands back the running tasks as soon as the worker is stopped, so that they go on elsewhere.

    Celery's warm shutdown waits for them instead, which may take longer than a deploy allows. With a pool that cannot
    end tasks, the worker still waits for the running ones, and hands back only those that wait.
    """

    requires = AFTER_TASKS

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        self._is_connected = False

        def end_tasks(**_: Any) -> None:
            # Without a connection, Celery calls no step's `stop`, and waits for tasks that in turn wait for
            # Redis. Their leases lapse.
            if not self._is_connected and Pool.can_stop_tasks:
                _end_running(consumer)

        self._end_tasks = end_tasks  # the signal keeps no reference
        worker_shutting_down.connect(end_tasks)

    def start(self, consumer: Any) -> None:
        self._is_connected = True

    def stop(self, consumer: Any) -> None:
        self._is_connected = False
        if not is_stopping():
            return  # only the connection is lost
        running = tuple(state.active_requests)
        with suppress(*consumer.connection_errors):
            consumer.task_consumer.cancel()
        if Pool.can_stop_tasks:
            self._hand_back_all(consumer)
        else:
            self._hand_back_waiting(consumer, running)
            _keep_connection(consumer, running)

    def _hand_back_all(self, consumer: Any) -> None:
        # Including the tasks that a process may have begun without having said so yet.
        requests = {*state.reserved_requests, *state.active_requests}
        task_ids = [request.id for request in requests]
        _end_running(consumer)
        with suppress(*consumer.connection_errors):
            # First the records, so that a worker that takes the message at once does not find the task running.
            for task_id in task_ids:
                consumer.app.backend.hand_back(task_id, WORKER_ID)
            # Other brokers redeliver a message when the connection is closed, which happens next.
            if leases_of(consumer):
                consumer.app.message_store.messages.hand_back(WORKER_ID)

    def _hand_back_waiting(self, consumer: Any, running: tuple[Any, ...]) -> None:
        # The threads of the pool, if it has any. No task that waits for a thread may begin.
        if executor := getattr(consumer.pool, "executor", None):
            executor.shutdown(wait=False, cancel_futures=True)
        if leases_of(consumer):
            messages = consumer.app.message_store.messages
            kept = {request.message.delivery_tag for request in running}
            with suppress(*consumer.connection_errors):
                messages.hand_back(WORKER_ID, messages.held(WORKER_ID) - kept)


def _keep_connection(consumer: Any, running: tuple[Any, ...]) -> None:
    """Keep the connection to the broker alive until the tasks have ended.

    Celery sends nothing while it waits for the threads of its pool. RabbitMQ closes a silent connection, and
    redelivers the messages of its running tasks.
    """
    connection = consumer.connection
    with suppress(*consumer.connection_errors):
        interval = connection.get_heartbeat_interval()
        while interval and state.active_requests.intersection(running):
            with suppress(TimeoutError):
                connection.drain_events(timeout=min(1, interval / 4))
            connection.heartbeat_check()


def _end_running(consumer: Any) -> None:
    """End the running tasks with their processes, since another worker may begin the tasks at once."""
    for request in tuple(state.active_requests):
        is_late = request.task.acks_late
        if is_late:
            if request.acknowledged or request.id in state.successful_requests:
                continue
            # Celery takes an ended greenlet for a success, and must not acknowledge its message.
            request.acknowledged = True
        request.cancel(consumer.pool, signal=END, emit_retry=not is_late)
    if Pool.has_processes:
        # A process may have begun a task without having said so yet.
        for pid in consumer.pool.info["processes"]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        consumer.pool.terminate()
