"""Runs tasks from their messages, in the thread that sends them. The broker and the store are in in_memory.py."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import Context
from typing import Any, Self

from celery.concurrency.base import BasePool, apply_target
from celery.exceptions import TaskRevokedError
from celery.result import denied_join_result
from celery.signals import task_failure
from kombu.utils.imports import symbol_by_name

from flask_longtask.celery.app import Celery
from flask_longtask.store import Acceptance
from flask_longtask.testing.in_memory import InMemory
from flask_longtask.web.protection.idempotency import FlaskRequests


class _Requests(FlaskRequests):
    def on_accepted(self, task_id: str, acceptance: Acceptance) -> None:
        """Keep nothing: the task no longer waits when the request is answered."""


class _Pool(BasePool):  # type: ignore[misc]  # Celery has no types
    """A worker pool that runs a task at once, and passes on exceptions that end a test."""

    def on_apply(self, *args: Any, **options: Any) -> None:
        apply_target(*args, **options, propagate=(BaseException,))


class Eager(InMemory):
    """A Celery app that runs each task when it sends it."""

    _turn: Any
    _runs = False

    @classmethod
    @contextmanager
    def put_into(cls, celery_app: Celery) -> Iterator[Self]:
        requests = celery_app.requests
        with super().put_into(celery_app) as eager:
            eager.requests, eager._turn = _Requests(), threading.RLock()
            try:
                yield eager
            finally:
                eager.requests = requests

    def send_task(self, *args: Any, **options: Any) -> Any:
        result = super().send_task(*args, **options)
        with self._turn:  # one thread at a time
            # A task that is sent by a running one is run by the loop of the outer call.
            if not self._runs:
                self._run_all()
        return result

    def _run_all(self) -> None:
        failures: list[Exception] = []

        def note(exception: Exception, **_: Any) -> None:
            failures.append(exception)

        task_failure.connect(note)
        self._runs = True
        try:
            with self.as_current():
                # In an empty context, without the request in particular: a worker has none of them.
                Context().run(self._run_messages)
        finally:
            self._runs = False
            task_failure.disconnect(note)
        if failures and self.conf.task_eager_propagates:
            raise failures[0]

    def _run_messages(self) -> None:
        pool = _Pool(limit=1)
        with self.pool.acquire() as connection:
            while message := self._next(connection.default_channel):
                task = self.tasks.get(message.headers["task"])
                if task is None:
                    message.ack()  # a task of another app, which stays PENDING
                    continue
                request_class: type = symbol_by_name(task.Request)  # type: ignore[no-untyped-call]
                request = request_class(
                    message,
                    app=self,
                    task=task,
                    hostname="eager",
                    on_ack=message.ack_log_error,
                    on_reject=message.reject_log_error,
                )
                # As in a worker: waiting for a result would never end, and an expired task raises nothing.
                with denied_join_result(), suppress(TaskRevokedError):
                    request.execute_using_pool(pool)

    def _next(self, channel: Any) -> Any:
        for queue in list(self.amqp.queues.values()):
            if (message := queue(channel).get()) is not None:
                return message
        return None
