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
    """Hands the running tasks back at once when the worker is stopped, so that they go on elsewhere.

    Celery's warm shutdown waits for them instead, which may take longer than a deploy has. So it does still in a
    pool that cannot end a task: what runs there goes on to its end, and only what waits is handed back.
    """

    requires = AFTER_TASKS

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        self._is_connected = False

        def end_tasks(**_: Any) -> None:
            # Celery calls no step's `stop` then, and waits for tasks that in turn wait for Redis. Their
            # leases lapse.
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
        # Those that a process has, though it may not have said yet that it has begun, too.
        requests = {*state.reserved_requests, *state.active_requests}
        task_ids = [request.id for request in requests]
        _end_running(consumer)
        with suppress(*consumer.connection_errors):
            # First the records: a worker that takes the message at once is not to find the task running.
            for task_id in task_ids:
                consumer.app.backend.hand_back(task_id, WORKER_ID)
            # Other brokers hand a message out again when the connection is closed, which is next.
            if leases_of(consumer):
                consumer.app.message_store.messages.hand_back(WORKER_ID)

    def _hand_back_waiting(self, consumer: Any, running: tuple[Any, ...]) -> None:
        if executor := getattr(
            consumer.pool, "executor", None
        ):  # the threads of the pool, where it has any
            executor.shutdown(
                wait=False, cancel_futures=True
            )  # what waits for one is not to begin here
        if leases_of(consumer):
            messages = consumer.app.message_store.messages
            kept = {request.message.delivery_tag for request in running}
            with suppress(*consumer.connection_errors):
                messages.hand_back(WORKER_ID, messages.held(WORKER_ID) - kept)


def _keep_connection(consumer: Any, running: tuple[Any, ...]) -> None:
    """Answer the broker until the tasks have ended.

    Celery's own wait for the threads of its pool is silent. RabbitMQ gives a silent connection up, and hands out again
    what runs on it.
    """
    connection = consumer.connection
    with suppress(*consumer.connection_errors):
        interval = connection.get_heartbeat_interval()
        while interval and state.active_requests.intersection(running):
            with suppress(TimeoutError):
                connection.drain_events(timeout=min(1, interval / 4))
            connection.heartbeat_check()


def _end_running(consumer: Any) -> None:
    """End what runs, with its process: the worker waits for that, and another may begin the task at once."""
    for request in tuple(state.active_requests):
        is_late = request.task.acks_late
        if is_late:
            if request.acknowledged or request.id in state.successful_requests:
                continue
            # To Celery a greenlet that was ended has succeeded. Its message must not be acknowledged for that.
            request.acknowledged = True
        request.cancel(consumer.pool, signal=END, emit_retry=not is_late)
    if Pool.has_processes:
        # One of them may have begun a task and not have said so yet.
        for pid in consumer.pool.info["processes"]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        consumer.pool.terminate()
