"""Celery's result backend: stores the states that Celery reports, in Celery's own document and in our record.

Celery's document, `celery-task-meta-<id>`, stays exactly as Celery writes it, so that `AsyncResult`, Flower and every
other Celery tool keep working.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import Any

from billiard.exceptions import WorkerLostError
from celery import states
from celery.app.task import Context
from celery.backends import redis as celery_redis
from celery.exceptions import TaskRevokedError
from celery.result import AsyncResult
from redis import ConnectionError as RedisConnectionError
from redis import ConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from flask_longtask.celery import arguments
from flask_longtask.celery.attempt import run_of
from flask_longtask.celery.documents import load_document
from flask_longtask.status import (
    ENDED_STATES,
    LONGEST_MESSAGE,
    MOST_META_BYTES,
    NOT_REPORTED,
    Progress,
    describe,
    describe_part,
    extras,
    final_report,
    is_open,
    waits_in,
)
from flask_longtask.status.history import LONGEST_ERROR, describe_history, outcome_of
from flask_longtask.status.sentences import Surroundings, error_text
from flask_longtask.store import (
    Change,
    Event,
    LogLine,
    Outcome,
    Record,
    Run,
    Stall,
    Store,
    Stored,
)
from flask_longtask.store.pool import Client, Pool

logger = logging.getLogger(__name__)

#: Seconds that a web request waits for an answer from Redis. A worker waits longer: see `patient_store`.
WEB_TIMEOUT = 1.0

#: How many parts of a family are cancelled in one round trip.
CANCELLED_AT_ONCE = 100


class MessageLost(Exception):
    """A task's message is gone: its queue was purged, or its broker lost it."""


class MessageRejected(Exception):
    """A task's message is not one that Celery writes, and no worker can handle it."""


class RedisBackend(celery_redis.RedisBackend):  # type: ignore[misc]  # Celery has no types
    """Celery's result backend for Redis, on the store."""

    @cached_property
    def store(self) -> Store:
        """The store for requests and for a task's reports: it fails fast."""
        return self._store(self._fast_pool())

    @cached_property
    def patient_store(self) -> Store:
        """The store for the start and the end of a task: it waits and retries, as Celery's own `client` does."""
        return self._store(self.client.connection_pool)

    def _store(self, pool: ConnectionPool) -> Store:
        documents = self.task_keyprefix.decode()
        prefix = documents.removesuffix("celery-task-meta-")
        return Store(Client(connection_pool=pool), prefix, documents, self.expires or 0)

    @property
    def _impatient(self) -> dict[str, Any]:
        """Connection parameters that fail fast.

        One immediate retry remains: a pooled connection that died when Redis was restarted is noticed only when it
        is used.
        """
        return {
            **self.connparams,
            "socket_timeout": WEB_TIMEOUT,
            "socket_connect_timeout": WEB_TIMEOUT,
            "retry": Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
        }

    def _fast_pool(self) -> ConnectionPool:
        return Pool(wait=WEB_TIMEOUT, **self._impatient)

    def on_task_call(self, producer: Any, task_id: str) -> None:
        """Do nothing. Celery subscribes here to every task that it sends, but `AsyncResult.get` does so, too."""

    def on_result_fulfilled(self, result: Any) -> None:
        """Like Celery's, which looks for a subscription to end for every `AsyncResult` that is deleted."""
        if self.result_consumer.subscribed_to:
            super().on_result_fulfilled(result)

    # -- reading ---------------------------------------------------------------------------------

    def read(self, task_ids: Sequence[str]) -> list[Stored | None]:
        """Return what is stored of each task, in one round trip; None for a task that does not exist.

        Raises redis.exceptions.RedisError when Redis does not answer within WEB_TIMEOUT.
        """
        try:
            return self.store.tasks.read(task_ids)
        except RedisError:
            self.store.presence.note_outage()
            raise

    def describe(
        self, task_ids: Sequence[str], *, alone: bool = False, ahead: bool = True
    ) -> dict[str, dict[str, Any] | None]:
        """Return the status object of each task; None for a task that does not exist.

        `alone`: of the task itself, even if it has the id of a family, with its number there. `ahead`: whether the
        sentence of a task that waits says how many are ahead of it, for which Redis looks up the rank of each.
        """
        known = {
            task_id: self._load(stored)
            for task_id, stored in zip(task_ids, self.read(task_ids), strict=True)
            if stored
        }
        around, ranks = None, {}
        if any(is_open(document, record) for document, record in known.values()):
            around = self._look_around()
            waiting = [
                (queue, task_id)
                for task_id, stored in known.items()
                if ahead and (queue := waits_in(*stored)) is not None
            ]
            numbers = self.store.tasks.ahead(waiting)
            ranks = {task_id: rank for (_, task_id), rank in zip(waiting, numbers, strict=True)}
        statuses: dict[str, dict[str, Any] | None] = dict.fromkeys(task_ids)
        for task_id, (document, record) in known.items():
            its = around and around._replace(ahead=ranks[task_id]) if task_id in ranks else around
            write = describe_part if alone else describe
            statuses[task_id] = write(task_id, document, record, its)
        return statuses

    def _load(self, stored: Stored) -> tuple[Mapping[str, Any], Record]:
        """Return Celery's document and the record of a task. If its result is large, the record alone is used."""
        record = stored.record or {}
        if record.get("result_bytes"):
            return {}, record
        document = load_document(stored.document, self.decode)
        if document.get("status") == states.SUCCESS and stored.document:
            size = len(stored.document)
            if size > self._most_result_bytes:  # stored by a program without this extension
                final = final_report(document.get("result"))
                return document, {**record, "result_bytes": size, "final": final}
        return document, record

    def result(self, task_id: str) -> Any:
        """Return the result of a task that has succeeded, however large. Raises LookupError for any other task."""
        (stored,) = self.store.tasks.read([task_id], whole=True)
        document = load_document(stored.document, self.decode) if stored else {}
        if document.get("status") != states.SUCCESS:
            raise LookupError(task_id)
        return describe(task_id, document, {})["result"]

    def history(self, task_id: str, after: int = 0) -> dict[str, Any] | None:
        """Return the attempts at a task, and its lines after this number; None if there is no such task."""
        stored = self.store.history.read(task_id, after)
        return describe_history(*stored) if stored else None

    @property
    def _most_result_bytes(self) -> int:
        most: int = self.app.longtask_settings["LONGTASK_MAX_RESULT_BYTES"]
        return most

    def describe_accepted(self, task_id: str, record: Record, ahead: int = 0) -> dict[str, Any]:
        """Return the status object of a task that has just been accepted, without reading it from Redis."""
        return describe(task_id, {}, record, self._look_around()._replace(ahead=ahead))

    def _look_around(self) -> Surroundings:
        presence = self.store.presence.look()
        workers = presence.workers if presence.complete else None
        now = self.store.clock.now()
        return Surroundings(now, workers, presence.queues, read_at=presence.now)

    # -- writing ---------------------------------------------------------------------------------

    def store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: str | None = None,
        request: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Store a state. Celery calls this for every state that a worker or a task reports.

        Keeps the outcome as `change` of the task's request.
        """
        change = self.store_state(task_id, result, state, traceback, request)
        if isinstance(request, Context):
            request.change = change
        return self.encode_result(result, state)

    def store_state(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: str | None = None,
        request: Any = None,
    ) -> Change | None:
        """Store a state. Returns the outcome, or None if the state could not be stored.

        While Redis is away, a progress report is dropped, since the task must go on and the next report replaces it.
        The end of a task is retried until it is stored.
        """
        if state not in NOT_REPORTED:
            result = _with_a_short_message(result)
        document = self._document(task_id, result, state, traceback, request)
        run = run_of(request)
        if state in ENDED_STATES:
            fields: dict[str, Any] = {"state": state}
            if state == states.SUCCESS and len(document) > self._most_result_bytes:
                fields |= {"result_bytes": len(document), "final": final_report(result)}
            fields |= self._ending(result, state)
            return self._keep_trying(task_id, Event.END, document, run, **fields)
        if state in NOT_REPORTED and state != states.STARTED:
            fields = self._ending(result, states.RETRY)
            return self._keep_trying(task_id, Event.REST, document, run, **fields)
        fields = {} if state == states.STARTED else _report(task_id, result, request)
        try:
            return self.store.tasks.record_event(task_id, Event.REPORT, document, run=run, **fields)
        except self.connection_errors as error:
            logger.warning("Progress of task %s could not be stored: %s", task_id, error)
            return None

    def keep_checkpoint(self, task_id: str, checkpoint: bytes, request: Any) -> Change | None:
        """Keep a value for a task's next attempt. Returns the outcome, or None while Redis is away."""
        try:
            return self.store.tasks.record_event(
                task_id, Event.CHECKPOINT, checkpoint, run=run_of(request)
            )
        except self.connection_errors as error:
            logger.warning("A checkpoint of task %s could not be stored: %s", task_id, error)
            return None

    def _ending(self, result: Any, state: str) -> dict[str, Any]:
        """Return how an attempt has ended that stores this state, and the text of its error."""
        outcome = outcome_of(state)
        if isinstance(result, WorkerLostError):
            outcome = "worker lost"
        if outcome not in ("raised", "retry") or result is None:
            return {"outcome": outcome}
        error = error_text(self.encode_result(result, state))
        return {"outcome": outcome, "error": error[:LONGEST_ERROR]}

    def log(self, request: Any, before: int, lines: Sequence[LogLine]) -> bool:
        """Keep lines that a running task has logged. `before` is how many its attempt has logged before these.

        Returns False if they cannot be kept now. Raises redis.exceptions.RedisError if Redis does not answer soon.
        """
        run = run_of(request)
        return run is None or self.store.history.log(request.id, run, before, lines)

    def start(self, task_id: str, run: Run, document: bytes | str = "", **fields: Any) -> Change:
        """Record the start of an attempt. `fields` say what its worker's pool cannot do."""
        most_lost = self.app.longtask_settings["LONGTASK_MAX_ATTEMPTS"]
        return self._keep_trying(
            task_id, Event.START, document, run, most_lost=most_lost, task=run.task, **fields
        )

    def cancel(self, task_id: str) -> bool:
        """Set a task's state to REVOKED. From now on, no other state of it is stored. Of a family, cancel all parts.

        Returns False if the task had ended. Does not check whether the task exists.
        """
        change = self.store.tasks.record_event(task_id, Event.CANCEL, self._revoked(task_id))
        if change.outcome is not Outcome.STORED:
            return False
        # No part starts any more. Here those are ended that wait or run.
        parts = self.store.families.open_parts(task_id)
        for first in range(0, len(parts), CANCELLED_AT_ONCE):
            some = parts[first : first + CANCELLED_AT_ONCE]
            self.store.tasks.cancel_all({part: self._revoked(part) for part in some})
        return True

    def _revoked(self, task_id: str) -> bytes | str:
        return self._document(task_id, TaskRevokedError("cancelled"), states.REVOKED)

    def hand_back(self, task_id: str, worker: str, store: Store | None = None) -> None:
        """Record that a running task waits again, because its worker is stopping or the task was rejected."""
        (store or self.store).tasks.record_event(task_id, Event.HAND_BACK, worker=worker)

    def start_again(self, task_id: str) -> AsyncResult:
        """Start a task with what an ended one was started with. Raises LookupError if that is not kept."""
        text = self.store.tasks.arguments(task_id)
        if text is None:
            raise LookupError(task_id)
        try:
            return arguments.send_again(self.app, task_id, text)
        except ValueError as error:
            logger.warning("%s", error)
            raise LookupError(task_id) from error

    def stall(self, task_id: str, worker: str, stall: Stall) -> bool:
        """Record that a running task was silent for too long, and waits again. Returns False if it was not."""
        tasks = self.store.tasks
        change = tasks.record_event(task_id, Event.STALL, worker=worker, stall=stall)
        return change.outcome is Outcome.STORED

    def lose(self, task_id: str) -> None:
        """Fail a task whose message is gone, and the tasks that were to follow it."""
        (stored,) = self.read([task_id])
        record = (stored and stored.record) or {}
        reason = "Its message is gone: the queue was purged or lost."
        if record.get("sending"):
            reason = "Its message was not sent."
        reason += " Its worker was lost, too." if record.get("attempt") else " It never ran."
        self._end_unrun(task_id, record, Event.MESSAGE_LOST, MessageLost(reason))

    def reject(self, task_id: str, reason: str) -> None:
        """Fail a task whose message no worker can handle, and the tasks that were to follow it.

        If the task already runs because of another message, it goes on.
        """
        (stored,) = self.read([task_id])
        record = (stored and stored.record) or {}
        event = Event.MESSAGE_LOST if record else Event.END
        error = MessageRejected(f"Its message cannot be used: {reason}")
        self._end_unrun(task_id, record, event, error)

    def _end_unrun(self, task_id: str, record: Record, event: Event, error: Exception) -> None:
        document = self._document(task_id, error, states.FAILURE)
        text = str(error)[:LONGEST_ERROR]
        change = self.store.tasks.record_event(task_id, event, document, error=text)
        if change.outcome is Outcome.STORED:
            logger.warning("Task %s has ended: %s", task_id, error)
            self._end_followers(record, self.store)

    def _end_followers(
        self, record: Record, store: Store, leaving: Collection[str | None] = ()
    ) -> None:
        """End the tasks that were to follow another one. They have not run, and cannot run any more."""
        reason = MessageLost("The task before it did not finish.")
        for follower in record.get("followers") or ():
            if follower not in leaving:
                document = self._document(follower, reason, states.FAILURE)
                store.tasks.record_event(follower, Event.END, document)

    def _record_of(self, task_id: str) -> Record:
        """Return a task's record to a worker, which waits for Redis."""
        stored: Stored | None
        (stored,) = self.ensure(self.patient_store.tasks.read, ([task_id],), max_retries=None)
        return (stored and stored.record) or {}

    def end_chain(self, task_id: str) -> None:
        """End the tasks that were to follow one that has failed or was ignored.

        Celery ends them after it has stored a failure, and a worker may die in between. After `Ignore` it does not.
        """
        record = self._record_of(task_id)
        if record.get("state") in (states.FAILURE, states.IGNORED):
            self._end_followers(record, self.patient_store)

    def count_in_chord(self, request: Any) -> None:
        """Count an ended task in its chord.

        Celery counts a task after it has stored its end, and a worker may die in between. Counting a task twice does
        no harm unless the chord's body has been sent.
        """
        body_id = (request.chord.get("options") or {}).get("task_id")
        ended, body = self.store.tasks.read([request.id, body_id or request.id], whole=True)
        document = load_document(ended and ended.document, self.decode)
        if body and not (body.record or {}).get("nonce") and document.get("status") in ENDED_STATES:
            self.on_chord_part_return(request, document["status"], document.get("result"))

    def mark_as_done(
        self,
        task_id: str,
        result: Any,
        request: Any = None,
        store_result: bool = True,
        state: str = states.SUCCESS,
    ) -> None:
        """Like Celery's, but also store the end of a task whose result is ignored, without the result.

        A task that has set `self.request.chain = None` has stopped its chain, of which the rest is cancelled.
        """
        if self._is_ignored(request, store_result):
            request.change = self.store_state(task_id, None, state, request=request)
        super().mark_as_done(task_id, result, request, store_result, state)
        chain = getattr(request, "chain_at_start", None)
        # Celery 5.6 empties the list itself when it sends the next step.
        if chain is not None and request.chain is not chain and not request.chain:
            tasks = self.patient_store.tasks
            for follower in self._record_of(task_id).get("followers") or ():
                tasks.record_event(follower, Event.CANCEL, self._revoked(follower))

    def on_chord_part_return(self, request: Any, state: str, result: Any, **options: Any) -> None:
        """Like Celery's. A task that was cancelled while it ran to its end has not succeeded for its chord, either."""
        change = getattr(request, "change", None)
        if state == states.SUCCESS and change and change.outcome is Outcome.CANCELLED:
            state, result = states.REVOKED, TaskRevokedError("cancelled")
        super().on_chord_part_return(request, state, result, **options)

    def mark_as_failure(
        self,
        task_id: str,
        exc: BaseException,
        traceback: str | None = None,
        request: Any = None,
        store_result: bool = True,
        **options: Any,
    ) -> None:
        """Like Celery's, but also store the failure of a task whose result is ignored."""
        if not store_result and self._is_ignored(request, store_result=False):
            self.store_state(task_id, exc, states.FAILURE, request=request)
        super().mark_as_failure(task_id, exc, traceback, request, store_result, **options)
        self._end_rest(task_id, request)

    def mark_as_revoked(
        self,
        task_id: str,
        reason: str = "",
        request: Any = None,
        store_result: bool = True,
        state: str = states.REVOKED,
    ) -> None:
        """Like Celery's, but also revoke a task whose result is ignored, and the rest of the task's chain.

        Otherwise the rest of the chain would stay PENDING for ever. Celery does the same after a failure.
        """
        super().mark_as_failure(
            task_id, TaskRevokedError(reason), request=request, call_errbacks=False, state=state
        )
        self._end_rest(task_id, request)

    def _end_rest(self, task_id: str, request: Any) -> None:
        """End the tasks that can no longer run because this one has not succeeded, where Celery leaves them waiting.

        Celery ends the other tasks of its chain, but none inside a group or chord there, and of a chord only the body,
        or the last task of that, once the whole header has ended. That one is left to Celery, which knows the error.
        """
        chain, chord = getattr(request, "chain", None) or (), getattr(request, "chord", None)
        if not chain and not chord:
            return
        steps = [step for step in chain if step.get("subtask_type") != "group"]
        chords = [chord, *(step["options"].get("chord") for step in steps)]
        bodies = {each["options"].get("task_id") for each in chords if each}
        record = self._record_of(task_id)
        if record.get("ended") and record.get("state") != states.SUCCESS:
            self._end_followers(record, self.patient_store, leaving=bodies)

    def _is_ignored(self, request: Any, store_result: bool) -> bool:
        # A message need not say that the result is ignored: the task may say so.
        if request is None or (store_result and not getattr(request, "ignore_result", False)):
            return False
        return not getattr(request, "is_eager", False) or bool(self.app.conf.task_always_eager)

    def _document(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: str | None = None,
        request: Any = None,
    ) -> bytes | str:
        result = self.encode_result(result, state)
        document = self._get_result_meta(result, state, traceback, request)
        text: bytes | str = self.encode({**document, "task_id": task_id})
        return text

    def _keep_trying(
        self, task_id: str, event: Event, document: bytes | str, run: Run | None, **fields: Any
    ) -> Change:
        def change() -> Change:
            return self.patient_store.tasks.record_event(
                task_id, event, document, run=run, **fields
            )

        result: Change = self.ensure(change, (), max_retries=None)
        return result


def _report(task_id: str, meta: Any, request: Any) -> dict[str, Any]:
    """Return the fields of the record that a report sets."""
    more = extras(meta)
    if len(more) > MOST_META_BYTES:
        if not getattr(request, "has_large_meta", False):  # one warning for a run
            logger.warning(
                "Task %s reports %d bytes of JSON besides its progress, so its status leaves them out: "
                "the limit is %d.",
                task_id,
                len(more),
                MOST_META_BYTES,
            )
        if isinstance(request, Context):
            request.has_large_meta = True
        more = b""
    return {"progress": Progress.of(meta).dump(), "meta": more.decode() or None}


def _with_a_short_message(meta: Any) -> Any:
    """Shorten the message of a report, since every poll reads it."""
    if isinstance(meta, dict) and isinstance(meta.get("status"), str):
        return {**meta, "status": meta["status"][:LONGEST_MESSAGE]}
    return meta
