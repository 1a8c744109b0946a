"""Sends tasks: records each task and pushes its message in one step, or as close to that as another broker allows.

Celery's `before_task_publish` signal comes at the right moment, but shows neither that publishing failed nor which of
several Celery apps publishes. So this module wraps the function that sends the signal.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from functools import cached_property, partial
from typing import Any

from celery.app import amqp
from celery.exceptions import ImproperlyConfigured
from kombu import connection
from kombu.exceptions import OperationalError
from redis.exceptions import DataError, RedisError, ResponseError

from flask_longtask.celery import arguments
from flask_longtask.celery.broker.queues import QueueFull, count_waiting
from flask_longtask.celery.broker.transport import RETRY_POLICY
from flask_longtask.celery.sending import NotAccepted, Sending, parent, restart_of, sending
from flask_longtask.store import Accepted, Claim, Queue, Record, Store

logger = logging.getLogger(__name__)

#: The version of Celery's messages that Longtask understands.
TASK_PROTOCOL = 2

#: The kinds of signatures that are no tasks themselves.
_CANVAS = frozenset({"chain", "chord", "group"})

#: Seconds, at most, between a worker's tries to reconnect to its broker.
RECONNECT_SECONDS = 3

#: Seconds after which sending a task from a web server fails.
PATIENCE = 1.0

#: Seconds until a worker tries again to send a task.
RESEND_SECONDS = 0.5

#: Seconds after which a worker gives up sending a message that Redis refuses. In an outage it does not give up.
REFUSED_SECONDS = 60.0

#: Seconds that a request waits for an earlier one with the same idempotency key, and between two checks.
BUSY_PATIENCE = 0.8
BUSY_LOOK = 0.02


class QueueAway(OperationalError):
    """A task could not be sent: the broker, or Redis, does not answer. A protected route answers 503.

    The task never runs, even if its message has been sent.
    """


class NotQueued(QueueAway):
    """The transaction has committed, but the task that was to follow it could not be queued.

    `commit()` raises it. A protected route that does not catch it answers 503.
    """


class Unroutable(QueueAway):
    """No queue takes the message. Sending it again would not help."""


class Connection(connection.Connection):
    """A connection to the broker that reconnects soon after the broker is back."""

    def as_uri(self, *args: Any, **options: Any) -> str:
        # Logs show the scheme instead of our transport's name.
        uri = str(super().as_uri(*args, **options))
        return uri.replace(str(self.transport_cls), self.transport.driver_type, 1)

    def ensure_connection(self, *args: Any, **options: Any) -> Any:
        # Kombu's own pauses grow to half a minute.
        pauses = {"interval_start": 1, "interval_step": 1, "interval_max": RECONNECT_SECONDS}
        return super().ensure_connection(*args, **{**pauses, **options})  # type: ignore[no-untyped-call]


class AMQP(amqp.AMQP):  # type: ignore[misc]  # Celery has no types
    """Celery's message sender, used by every way to start a task: `delay`, groups, chains, beat, retries."""

    Connection = Connection

    @cached_property
    def create_task_message(self) -> Callable[..., Any]:
        """Celery's own function. Raises ImproperlyConfigured if `task_protocol` is not the one that is understood."""
        protocol = self.app.conf.task_protocol
        if protocol != TASK_PROTOCOL:
            raise ImproperlyConfigured(
                f"LongTask needs Celery's default task_protocol, {TASK_PROTOCOL}, not {protocol!r}."
            )
        create = super().create_task_message

        def create_task_message(
            task_id: str,
            name: str,
            args: Any = None,
            kwargs: Any = None,
            *more: Any,
            **options: Any,
        ) -> Any:
            if options.get("argsrepr") is None:
                options["argsrepr"] = arguments.short_repr(args or (), self.argsrepr_maxsize)
            if options.get("kwargsrepr") is None:
                options["kwargsrepr"] = arguments.short_repr(kwargs or {}, self.kwargsrepr_maxsize)
            return create(task_id, name, args, kwargs, *more, **options)

        return create_task_message

    @cached_property
    def send_task_message(self) -> Callable[..., Any]:
        # Celery's own function. `super().send_task_message` would be cached under the name of ours.
        send = amqp.AMQP.send_task_message.func(self)
        #: Tasks that may have been accepted although sending them has failed with an error.
        self._unclear: deque[Sending] = deque(maxlen=1000)
        has_own_policy = self.app.conf.task_publish_retry_policy != RETRY_POLICY

        def send_task_message(producer: Any, name: str, message: Any, **options: Any) -> Any:
            started = time.monotonic()
            if self.app.broker_is_store and _goes_to_its_queue(options):
                # There is nothing to declare, and the store's client tries again by itself. Kombu would take a fifth of
                # the time of `delay()` for both.
                options["declare"] = []
                if not has_own_policy and not options.get("retry_policy"):
                    options.setdefault("retry", False)
            sender = self._running_task()
            claim = None if sender else self.app.requests.claim()
            task = self._sending(name, message, options, claim, sender)
            while True:
                try:
                    return self._send(task, partial(send, producer, name, message, **options))
                except (RedisError, OperationalError) as error:
                    if task.in_worker and _may_pass(error, time.monotonic() - started):
                        # A retry, or the next step of a chain: giving up would fail a task that is under way.
                        logger.warning("%s cannot be sent, and is tried again: %s", name, error)
                        time.sleep(RESEND_SECONDS)
                        continue
                    if claim is None:
                        self._unclear.append(task)
                    raise QueueAway(str(error)) from error
                except NotAccepted as refusal:
                    outcome, earlier, *_ = refusal.acceptance
                    if outcome is Accepted.EARLIER:
                        task_ids = [task.task_id, *task.options["followers"]]
                        self.app.requests.answer_with(earlier, task_ids)
                        return None
                    if outcome is Accepted.BUSY and time.monotonic() - started < BUSY_PATIENCE:
                        time.sleep(BUSY_LOOK)
                        task = self._sending(name, message, options, claim, sender)
                        continue
                    self._refuse(task, outcome)

        return send_task_message

    def accept_eager(self, task_id: str, name: str) -> bool:
        """Record a task that this process is about to run. Returns False if an earlier task stands for it."""
        requests = self.app.requests
        sender = self._running_task()
        claim = None if sender else requests.claim()
        owner = requests.owner()
        record = _owned_by(owner, {"task": name})
        task = Sending(
            self.app.backend.store,
            task_id,
            record,
            claim=claim,
            sender=sender,
            parent=parent.get(),
        )
        try:
            acceptance = task.accept(Queue(str(self.app.conf.task_default_queue)))
            if acceptance.outcome is Accepted.EARLIER:
                requests.answer_with(acceptance.task_ids, [task_id])
                return False
            if not acceptance.is_sent:
                self._refuse(task, acceptance.outcome)
            task.store.tasks.confirm(task_id, task.nonce, sent=True)
        except RedisError as error:
            raise QueueAway(str(error)) from error
        return True

    def _running_task(self) -> str | None:
        """Return the id of the task that a worker runs in this thread or greenlet, if there is one."""
        running = self.app.current_worker_task
        return running.request.id if running else None

    def _sending(
        self,
        name: str,
        message: Any,
        options: Mapping[str, Any],
        claim: Claim | None,
        sender: str | None,
    ) -> Sending:
        backend, in_worker = self.app.backend, sender is not None
        store: Store = backend.patient_store if in_worker else backend.store
        queue = options.get("queue") or self.default_queue
        not_after = None
        if not in_worker and store.clock.is_known:
            not_after = store.clock.now() + PATIENCE
        # Neither a workflow that is running nor what a request starts is left half done.
        is_part = in_worker or self.app.requests.has_started()
        most_waiting = 0 if is_part else self.app.longtask_settings["LONGTASK_MAX_WAITING"]
        owner = self.app.requests.owner()
        record = self._record(name, message.headers, getattr(queue, "name", queue))
        if earlier := restart_of.get():
            record["restart_of"] = earlier
        followers = dict(_followers(message.body[2]))
        # Of a group or a chain, the family is listed.
        is_single = not (is_part or followers or message.headers["group"])
        return Sending(
            store,
            message.headers["id"],
            _owned_by(owner, record),
            followers={
                task_id: _owned_by(owner, follower) for task_id, follower in followers.items()
            },
            claim=claim,
            most_waiting=most_waiting,
            not_after=not_after,
            sender=sender,
            # A group's tasks are sent one by one, and what follows them all may have ended by then.
            renews=not in_worker and not message.headers["group"],
            parent=parent.get(),
            browser=self.app.requests.list_name() if is_single else None,
            arguments=arguments.keep(self.app, name, message, options),
            rank=self._rank(record["queue"], options.get("priority")),
        )

    def _rank(self, queue_name: str, priority: int | None) -> int:
        """Return how many priorities come before this one in a queue of another broker."""
        queue = self.queues.get(queue_name)
        arguments = getattr(queue, "queue_arguments", None) or {}
        most = getattr(queue, "max_priority", None) or arguments.get("x-max-priority")
        if not most:
            return 0
        given = self.app.conf.task_default_priority if priority is None else priority
        return int(most) - min(given or 0, int(most))

    def _send(self, task: Sending, publish: Callable[[], Any]) -> Any:
        if self.app.broker_is_store:
            token = sending.set(task)
            try:
                sent = publish()
            finally:
                sending.reset(token)
        else:
            sent = self._send_elsewhere(task, publish)
        if task.acceptance is None:
            raise Unroutable("The task's message was routed to no queue.")
        self.app.requests.on_accepted(task.task_id, task.acceptance)
        self._bury_unclear()
        return sent

    def _bury_unclear(self) -> None:
        """Now that Redis answers, make sure that tasks whose sending has failed never run."""
        while self._unclear:
            task = self._unclear.popleft()
            try:
                task.store.tasks.confirm(task.task_id, task.nonce, sent=False)
            except RedisError:
                self._unclear.append(task)
                return

    def _send_elsewhere(self, task: Sending, publish: Callable[[], Any]) -> Any:
        """Record the task, send its message to another broker, and record that it was sent."""
        queue = Queue(task.record["queue"], list_number=task.rank)
        acceptance = task.accept(queue)
        if acceptance.outcome is Accepted.FULL:
            # The store may have counted purged messages, so ask the broker before refusing.
            most = task.options["most_waiting"]
            if count_waiting(self.app, queue.name) < most:
                task.options["most_waiting"] = 0
                acceptance = task.accept(queue)
        if not acceptance.is_sent:
            raise NotAccepted(acceptance)
        try:
            sent = publish()
        except Exception:
            if not task.in_worker:  # a worker tries again
                with suppress(RedisError):  # if this fails, a worker's audit finds the task
                    task.store.tasks.confirm(task.task_id, task.nonce, sent=False)
            raise
        task.store.tasks.confirm(task.task_id, task.nonce, sent=True)
        return sent

    def _refuse(self, task: Sending, outcome: Accepted) -> None:
        if outcome is Accepted.FULL:
            raise QueueFull(task.options["most_waiting"])
        if outcome is Accepted.LATE:
            raise QueueAway("Redis answered too late.")
        self.app.requests.refuse(outcome)
        raise QueueAway(f"The task was refused: {outcome.value}.")

    def _record(self, name: str, headers: Mapping[str, Any], queue: str) -> Record:
        record: Record = {"task": name, "queue": queue}
        if headers["eta"]:
            record["eta"] = datetime.fromisoformat(headers["eta"]).timestamp()
        if headers["retries"]:
            task = self.app.tasks.get(name)
            record["retries"] = headers["retries"]
            # `Task.retry` keeps its `max_retries` argument in this attribute.
            limit = getattr(task, "override_max_retries", getattr(task, "max_retries", None))
            if limit is not None:
                record["max_retries"] = limit
        return record


def _goes_to_its_queue(options: Mapping[str, Any]) -> bool:
    """Whether Celery sends the message straight to its queue, by the queue's name, and not through an exchange."""
    is_routed = options.get("exchange") and options.get("routing_key")
    exchange = getattr(options.get("queue"), "exchange", None)
    return not is_routed and exchange is not None and exchange.type == "direct"


def _may_pass(error: Exception, tried_for: float) -> bool:
    """Whether sending the message again may help."""
    is_refused = isinstance(error.__cause__ or error, ResponseError | DataError)
    return not isinstance(error, Unroutable) and not (is_refused and tried_for > REFUSED_SECONDS)


def _owned_by(owner: str | None, record: Record) -> Record:
    return {**record, "owner": owner} if owner else record


def _followers(embedded: Mapping[str, Any]) -> Iterator[tuple[str, Record]]:
    """Yield the tasks of a chain or chord that already have an id and are sent later, each with its record."""
    signatures = [*(embedded.get("chain") or ()), embedded.get("chord")]
    while signatures:
        signature = signatures.pop()
        if not signature:
            continue
        options = signature["options"]
        task_id = options.get("task_id")
        if task_id and signature.get("subtask_type") not in _CANVAS:
            yield task_id, {"task": signature["task"]}
        # A chord's body carries the rest of the chain that the chord is a step of.
        signatures += [*(options.get("chain") or ()), options.get("chord")]
        # A chord or a group as a step of a chain carries its own tasks as arguments.
        arguments = signature.get("kwargs") or {}
        for part in (arguments.get("header"), arguments.get("tasks"), [arguments.get("body")]):
            nested = part.get("kwargs", {}).get("tasks") if isinstance(part, dict) else part
            if isinstance(nested, list | tuple):
                signatures.extend(item for item in nested if isinstance(item, dict))
