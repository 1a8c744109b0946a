"""Celery's consumer, which puts aside a message that it cannot handle, and goes on. protocol.py defines what it can.

A bad message must do no further harm. Celery's own consumer only logs some kinds of bad messages, which leaves their
tasks waiting for ever. The other kinds end the worker, and then the next worker that takes the message.
"""

import logging
from collections.abc import Callable
from contextlib import nullcontext, suppress
from typing import Any

from celery import signals
from celery.app.task import Context
from celery.exceptions import NotRegistered
from celery.worker import consumer
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from flask_longtask.celery.attempt import WORKER_ID, is_stopping
from flask_longtask.celery.broker.message import Copy, Unusable
from flask_longtask.celery.worker.protocol import fault_of, is_name
from flask_longtask.celery.worker.step import leases_of
from flask_longtask.json_text import pack

logger = logging.getLogger(__name__)


class Consumer(consumer.Consumer):  # type: ignore[misc]  # Celery has no types
    def create_task_handler(self, *args: Any, **options: Any) -> Callable[[Any], None]:
        handle = super().create_task_handler(*args, **options)
        errors = {*self.connection_errors, *self.channel_errors, RedisError, OperationalError}
        # Kombu's list of errors includes KeyError, which a bad message may cause.
        outage = tuple(errors - {KeyError})

        def on_task_received(message: Any) -> None:
            if is_stopping():
                return  # the message goes back to its queue: the pool may have ended
            try:
                fault = fault_of(message)
                if fault is None:
                    handle(message)
                    return
                error: Exception = Unusable(fault)
            except outage:
                raise
            except Exception as reason:  # any other fault of the message
                error = reason
            self._put_aside(message, error)

        return on_task_received

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        self._put_aside(message, exc)

    def on_unknown_message(self, body: Any, message: Any) -> None:
        self._put_aside(message, Unusable("it is not a task message"))

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Like Celery's, but do not log the task's arguments, which may include a mail address."""
        task_id, name = message.headers.get("id"), message.headers.get("task")
        if not is_name(task_id):
            task_id, name = message.payload["id"], message.payload["task"]
        logger.error("No task named %s is registered: task %s has failed", name, task_id)
        message.reject_log_error(logger, self.connection_errors)
        request = Context(message.headers, id=task_id, task=name)
        self.app.backend.mark_as_failure(task_id, NotRegistered(name), request=request)
        if self.event_dispatcher:
            self.event_dispatcher.send(
                "task-failed", uuid=task_id, exception=f"NotRegistered({name!r})"
            )
        signals.task_unknown.send(sender=self, message=message, exc=exc, name=name, id=task_id)

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:
        self._put_aside(message, exc)

    def _put_aside(self, message: Any, error: Exception) -> None:
        """Keep a message where an operator can find it, fail its task, and remove the message from its queue."""
        if isinstance(error, Copy):
            logger.warning("Dropping a copy of a message that this worker already holds")
            message.reject_log_error(logger, self.connection_errors)
            return
        reason = str(error) if isinstance(error, Unusable) else f"{type(error).__name__}, {error}"
        task_id = _id_in(message)
        logger.error("A message cannot be used (task %s): %.1000s", task_id, reason)
        no_ack = message.channel.no_ack_consumers or ()
        if not message.delivery_tag or message.delivery_info.get("consumer_tag") in no_ack:
            return  # a broadcast, which is in no queue
        backend, leases = self.app.backend, leases_of(self)
        # With another broker, Redis may be away. Then only the log has the message, and the audit fails its task.
        with nullcontext() if leases else suppress(RedisError):
            if is_name(task_id):
                backend.reject(task_id, reason)
            if leases:
                messages = self.app.message_store.messages
                messages.put_aside(reason, worker=WORKER_ID, tag=message.delivery_tag)
            else:
                parts = {name: getattr(message, name) for name in ("headers", "properties", "body")}
                queue = str(message.delivery_info.get("routing_key") or "")
                backend.store.messages.put_aside(reason, queue=queue, text=pack(parts))
        if not message.acknowledged:
            message.reject_log_error(logger, self.connection_errors)
        signals.task_rejected.send(sender=self, message=message, exc=error)


def _id_in(message: Any) -> Any:
    """Return the id of the task, if it can be read. Version 1 of the protocol has it in the body."""
    if "id" in message.headers:
        return message.headers["id"]
    with suppress(Exception):  # whatever decoding raises
        return message.payload["id"]
    return None
