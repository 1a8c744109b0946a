"""Registers a task before its message goes out, so that a submitted task is known and an unknown id is not.

Celery's `before_task_publish` signal comes at the right moment, but it neither sees that publishing failed
nor which of several Celery apps publishes. This is the same moment, taken one call further out.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from celery.app import amqp
from kombu import connection
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from flask_longtask import idempotency
from flask_longtask.backend import SENDING_LOOK, utc_now
from flask_longtask.queues import QueueFull, count_waiting

#: Seconds, at most, between two tries of a worker to reach a broker that is away.
RECONNECT_SECONDS = 3


class Connection(connection.Connection):
    """A connection to the broker that is back soon after the broker is."""

    def ensure_connection(self, *args: Any, **options: Any) -> Any:
        # Kombu's own pauses grow to half a minute.
        pauses = {"interval_start": 1, "interval_step": 1, "interval_max": RECONNECT_SECONDS}
        return super().ensure_connection(*args, **{**pauses, **options})  # type: ignore[no-untyped-call]


class AMQP(amqp.AMQP):  # type: ignore[misc]  # Celery has no types
    """Celery's message sender for every way to start a task: `delay`, groups, chains, beat, retries."""

    Connection = Connection

    def _create_task_sender(self) -> Callable[..., Any]:
        send = super()._create_task_sender()

        def send_task_message(producer: Any, name: str, message: Any, **options: Any) -> Any:
            if message.headers.get("ignore_result"):
                return send(producer, name, message, **options)  # its author wants nothing kept

            backend = self.app.backend
            task_id = message.headers["id"]
            record = self._record(name, message.headers, options)
            followers = dict(_followers(message.body[2]))
            task_ids = [task_id, *followers]
            claim = idempotency.claim()
            try:
                verdict, earlier = self._register(task_id, record, followers, claim)
            except RedisError as error:
                # Celery and Flask apps both know this one as "the broker is away".
                raise OperationalError(str(error)) from error
            if verdict == "earlier":
                idempotency.answer_with(earlier, task_ids)
                return None
            try:
                sent = send(producer, name, message, **options)
            except Exception:
                if verdict == "new":
                    backend.unregister(task_id, claim)
                raise
            if claim:
                backend.confirm(claim, task_ids)
            return sent

        return send_task_message

    def _register(
        self,
        task_id: str,
        record: dict[str, Any],
        followers: dict[str, dict[str, Any]],
        claim: idempotency.Claim | None,
    ) -> tuple[str, list[str]]:
        # What a worker publishes belongs to a task that has been accepted: it always finds room.
        in_worker = self.app.current_worker_task
        most = 0 if in_worker else self.app.flask_app.config["LONGTASK_MAX_WAITING"]
        backend, queue = self.app.backend, record["queue"]
        arguments = task_id, record, followers, most, claim
        verdict, earlier = backend.register(*arguments)
        if verdict == "full?":
            # By the numbers. Messages may have been purged, so ask the broker before refusing.
            waiting = count_waiting(self.app, queue)
            if waiting < most and backend.correct_waiting(queue, waiting):
                verdict, earlier = backend.register(*arguments)
        while verdict == "sending":
            # The same request is under way in another thread or process. It ends one way or the other.
            time.sleep(SENDING_LOOK)
            verdict, earlier = backend.register(*arguments)
        if verdict in ("full", "full?"):
            raise QueueFull(most)
        if verdict == "reused":
            raise idempotency.KeyReused
        return verdict, earlier

    def _record(
        self, name: str, headers: Mapping[str, Any], options: Mapping[str, Any]
    ) -> dict[str, Any]:
        queue = options.get("queue") or self.default_queue
        record = {
            "task": name,
            "queue": getattr(queue, "name", queue),
            "submitted": utc_now(),
            "eta": headers["eta"],
        }
        if headers["retries"]:
            task = self.app.tasks.get(name)
            record["retries"] = headers["retries"]
            # `Task.retry` keeps a limit that it was called with in this attribute.
            limit = getattr(task, "override_max_retries", getattr(task, "max_retries", None))
            record["max_retries"] = limit
        return {field: value for field, value in record.items() if value is not None}


def _followers(embedded: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The ids that the sender of a chain or chord already holds, of tasks that are published later."""
    signatures = [*(embedded.get("chain") or ()), embedded.get("chord")]
    while signatures:
        signature = signatures.pop()
        if not signature:
            continue
        if task_id := signature["options"].get("task_id"):
            yield task_id, {"task": signature["task"], "submitted": utc_now()}
        # A chord or a group as a step of a chain carries its own tasks as arguments.
        arguments = signature.get("kwargs") or {}
        for part in (arguments.get("header"), arguments.get("tasks"), [arguments.get("body")]):
            nested = part.get("kwargs", {}).get("tasks") if isinstance(part, dict) else part
            if isinstance(nested, list | tuple):
                signatures.extend(item for item in nested if isinstance(item, dict))
