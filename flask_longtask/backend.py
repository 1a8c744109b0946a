"""What Redis holds about a task, and the only code that reads or writes it.

Celery's own document, `celery-task-meta-<id>`, stays exactly Celery's, so `AsyncResult`, Flower and every
other Celery tool keep working. Beside it, `longtask:<id>` keeps what Celery has no place for:

    task, submitted            the task's name, and when it was sent
    queue, number              where it waits, and its number there (see register.lua)
    eta, retries, max_retries  when it is due, if it waits for a time or for a retry
    attempt, started           how often it was taken up, and when the last time
    worker, pid, running       by whom, in which process, and whether it is still at it
    deliveries                 how often the message that is run had been handed out again
    lost                       how often its worker was lost
    progress                   the last progress, which Celery's document loses when the task ends
    cancelled, ended           when; a task with `ended` is never written again

`longtask:key:<hash>` keeps which tasks an `Idempotency-Key` stands for, and for which body; with `:turn` behind
it, that a request with the key is being answered.

Every time is ISO 8601 in UTC. What these documents mean to a client is `status.py`'s business.
"""

import json
import logging
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from importlib.resources import files
from typing import Any, NamedTuple

from billiard.process import current_process
from celery import states
from celery.backends import redis as celery_redis
from celery.exceptions import TaskRevokedError
from redis import ConnectionError as RedisConnectionError
from redis import ConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.commands.core import Script
from redis.exceptions import RedisError, ResponseError
from redis.lock import Lock
from redis.retry import Retry

from flask_longtask.idempotency import Claim, KeyReused
from flask_longtask.json_text import dumps, loads, plain
from flask_longtask.pool import WebPool
from flask_longtask.presence import Board, Presence, cancelled_key, queue_key
from flask_longtask.status import ENDED_STATES, NOT_REPORTED, UNREADABLE, Progress, describe
from flask_longtask.together import Together

logger = logging.getLogger(__name__)

#: Seconds that a web request waits for an answer of Redis. A worker is more patient: see `client`.
WEB_TIMEOUT = 1.0

#: Seconds after which a web request has either published the task it has registered or will never do so.
SENDING_SECONDS = 3.0

#: Seconds between two looks at whether another request with the same Idempotency-Key has done so.
SENDING_LOOK = 0.02

#: What Redis answers to a write while it is full, a replica, loading, or cannot save to its disk.
_CANNOT_WRITE = ("OOM", "READONLY", "LOADING", "MISCONF", "MASTERDOWN")


class Stored(NamedTuple):
    """What Redis holds about a task that exists: at least one of the two documents."""

    meta: Mapping[str, Any] | None
    record: Mapping[str, Any] | None

    @property
    def is_open(self) -> bool:
        """Whether the task may still change."""
        return (self.meta or {}).get("status") not in ENDED_STATES


def utc_now() -> str:
    return datetime.now(UTC).isoformat()


def worker_name(hostname: str) -> str:
    """The name of a worker that no other has, nor the one that is started in its place."""
    is_child = current_process().name != "MainProcess"
    return f"{hostname}/{os.getppid() if is_child else os.getpid()}"


class RedisBackend(celery_redis.RedisBackend):  # type: ignore[misc]  # Celery has no types
    """Celery's result backend for Redis, with our record kept beside Celery's document."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._board = Board()
        # Made from Celery's prefix, so that a configured global_keyprefix holds for both.
        self.record_keyprefix = self.task_keyprefix.replace(b"celery-task-meta-", b"longtask:")

    @cached_property
    def web_client(self) -> Redis:
        """A client that fails fast, for whoever serves a person. Not for use inside of a task: see WebPool."""
        return Redis(connection_pool=self._get_web_pool(**self._impatient))

    @cached_property
    def report_client(self) -> Redis:
        """A client that fails fast, for a task's reports: the task must go on."""
        client: Redis = self._create_client(**self._impatient)
        return client

    @property
    def _impatient(self) -> dict[str, Any]:
        """Celery's own `client` is for workers: it waits, and tries again for as long as it takes.

        One retry remains here, at once, because a connection that lay in the pool while Redis was
        restarted is known to be dead only when it is used.
        """
        return {
            **self.connparams,
            "socket_timeout": WEB_TIMEOUT,
            "socket_connect_timeout": WEB_TIMEOUT,
            "retry": Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
        }

    def _get_web_pool(self, **parameters: Any) -> ConnectionPool:
        return WebPool(wait=WEB_TIMEOUT, **parameters)

    @cached_property
    def _reads(self) -> Together:
        return Together(self.web_client.mget)

    def _keys(self, task_id: str) -> tuple[bytes, bytes]:
        name = task_id.encode()
        return self.task_keyprefix + name, self.record_keyprefix + name

    def on_task_call(self, producer: Any, task_id: str) -> None:
        """Celery subscribes here to every task it sends; `AsyncResult.get` does so by itself."""

    # -- reading ---------------------------------------------------------------------------------

    def read(self, task_ids: Sequence[str]) -> list[Stored | None]:
        """What is stored about each task, in one round trip; None for a task that does not exist.

        Raises redis.exceptions.RedisError when Redis does not answer within WEB_TIMEOUT.
        """
        if not task_ids:
            return []
        keys = [key for task_id in task_ids for key in self._keys(task_id)]
        try:
            values = self._reads.read(keys)
        except RedisError:
            self._board.lost_sight()
            raise
        return self._load(values)

    def describe(self, task_ids: Sequence[str]) -> dict[str, dict[str, Any] | None]:
        """The status object of each task, None for one that does not exist: one round trip for all."""
        return self._describe(task_ids, self.read([i.lower() for i in task_ids]))

    def list_and_describe(self, key: str, length: int, task_id: str) -> dict[str, Any] | None:
        """Put a task at the head of a list of at most `length` and describe it: one round trip for both."""
        pipeline: Any = self.web_client.pipeline(transaction=False)
        pipeline.lpush(key, task_id)
        pipeline.ltrim(key, 0, length - 1)
        if self.expires:
            pipeline.expire(key, self.expires)
        pipeline.mget(self._keys(task_id))
        *_, values = pipeline.execute()
        return self._describe([task_id], self._load(values))[task_id]

    def _load(self, values: Sequence[Any]) -> list[Stored | None]:
        return [
            Stored(self._load_meta(meta), _load_record(record)) if meta or record else None
            for meta, record in zip(values[::2], values[1::2], strict=True)
        ]

    def _describe(
        self, task_ids: Sequence[str], known: Sequence[Stored | None]
    ) -> dict[str, dict[str, Any] | None]:
        now, presence = datetime.now(UTC), None
        if any(stored and stored.is_open for stored in known):
            presence = self.presence()
        return {
            task_id: describe(task_id, *stored, now, presence) if stored else None
            for task_id, stored in zip(task_ids, known, strict=True)
        }

    def presence(self) -> Presence:
        """Who is there to run tasks."""
        return self._board.look(self.web_client, self.app.amqp.queues)

    def _load_meta(self, payload: Any) -> Mapping[str, Any] | None:
        if not payload:
            return None
        try:
            if payload.startswith(b"{") and b"__type__" not in payload:
                meta = loads(payload)
            else:  # compressed, or with a date or another of kombu's own types inside
                meta = plain(self.decode(payload))
        # The decoders' errors share no base class, and the client is owed an answer.
        except Exception:
            meta = None
        readable = isinstance(meta, dict) and isinstance(meta.get("status"), str)
        return meta if readable else {"status": UNREADABLE}

    # -- writing ---------------------------------------------------------------------------------

    @cached_property
    def _register_script(self) -> Script:
        return Script(self.client, _source("register.lua"))

    @cached_property
    def _correct_script(self) -> Script:
        return Script(self.client, _source("correct.lua"))

    @cached_property
    def _store_script(self) -> Script:
        return Script(self.client, _source("store.lua"))

    def register(
        self,
        task_id: str,
        record: Mapping[str, Any],
        followers: Mapping[str, Mapping[str, Any]],
        most_waiting: int,
        claim: Claim | None = None,
    ) -> tuple[str, list[str]]:
        """Record that a task, and those that follow it, are about to be published.

        Returns the verdict of register.lua and, where that is "earlier", the tasks of the earlier request
        that made the same claim: this one, and those that follow. `most_waiting` 0 stands for any number.
        """
        keys: list[Any] = [
            *self._keys(task_id),
            queue_key(record["queue"]),
            self._claim_key(claim) if claim else b"",
            *(self._keys(follower)[1] for follower in followers),
        ]
        in_worker = bool(self.app.current_worker_task)
        arguments: list[Any] = [
            self.expires or 0,
            int(in_worker),
            most_waiting,
            _claim_text(claim, [task_id, *followers]) if claim else "",
            SENDING_SECONDS,
            *(dumps(document) for document in (record, *followers.values())),
        ]
        client = self.client if in_worker else self.web_client
        verdict, *task_ids = self._register_script(keys, arguments, client=client)
        return verdict.decode(), [earlier.decode() for earlier in task_ids]

    def confirm(self, claim: Claim, task_ids: Sequence[str]) -> None:
        """Say that the tasks of a claim are published: from now on they are the answer to it."""
        text = _claim_text(claim, task_ids)
        self.web_client.set(self._claim_key(claim), text, xx=True, keepttl=True)

    def claimed_by(self, claim: Claim) -> list[str]:
        """The tasks that an earlier request with this claim has started; none if there was no such request.

        Raises KeyReused if that request had another body.
        """
        text = self.web_client.get(self._claim_key(claim))
        earlier = json.loads(text) if text else {}
        if "since" in earlier or not any(self.read(earlier.get("tasks", [])[:1])):
            return []
        if earlier["body"] != claim.body:
            raise KeyReused
        task_ids: list[str] = earlier["tasks"]
        return task_ids

    def turn(self, claim: Claim) -> Lock:
        """A lock for one request with this claim at a time. One that died holding it holds nobody up for long."""
        return Lock(
            self.web_client,
            self._claim_key(claim).decode() + ":turn",
            timeout=SENDING_SECONDS,
            blocking_timeout=SENDING_SECONDS,
            sleep=SENDING_LOOK,
            thread_local=False,
        )

    def _claim_key(self, claim: Claim) -> bytes:
        key: bytes = self.record_keyprefix + b"key:" + claim.name.encode()
        return key

    def correct_waiting(self, queue: str, waiting: int) -> bool:
        """Say how many tasks really wait in a queue, where messages were lost or purged.

        Returns False, and changes nothing, while one that was registered may still be on its way.
        """
        keys = [queue_key(queue), cancelled_key(queue)]
        arguments = [waiting, SENDING_SECONDS]
        return bool(self._correct_script(keys, arguments, client=self.web_client))

    def unregister(self, task_id: str, claim: Claim | None = None) -> None:
        """Take a registration back, because the message could not be published."""
        keys = [*self._keys(task_id), *([self._claim_key(claim)] if claim else [])]
        self.web_client.delete(*keys)

    def cancel(self, task_id: str) -> bool:
        """Make a task's state REVOKED; from now on nobody else's report of it is stored.

        Returns False if it had ended. Whether it exists is for the caller to know.
        """
        reason = self.prepare_exception(TaskRevokedError("cancelled"))
        meta = self._get_result_meta(reason, states.REVOKED, None, None)
        now = utc_now()
        verdict, _, _ = self._change(
            self.web_client, task_id, meta, {"cancelled": now, "ended": now}, "rest"
        )
        return verdict == "stored"

    def hand_back(self, task_id: str) -> None:
        """Record that a running task goes back to waiting, because its worker is being stopped."""
        meta = self._get_result_meta(None, states.PENDING, None, None)
        self._change(self.web_client, task_id, meta, {}, "rest")

    def _store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: str | None = None,
        request: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Celery's way in: every state that a worker or a task reports passes here.

        Leaves on the request what came of it, for `task.py` to act on: the verdict of store.lua, the
        attempt that this request is, and how often the task's worker was lost.

        While Redis is away a report of progress is given up, since the task must go on and the next
        report makes up for it; the end of a task is tried again until it is stored.
        """
        meta = self._get_result_meta(
            result=result, state=state, traceback=traceback, request=request
        )
        event, fields = "rest", {}
        if state == states.STARTED and request is not None:
            event = "start"
            fields = {
                "task": request.task,
                "started": utc_now(),
                "worker": worker_name(request.hostname),
                "pid": os.getpid(),
                "deliveries": getattr(request, "longtask_deliveries", None) or 0,
            }
        elif state in ENDED_STATES:
            fields = {"ended": utc_now()}
        elif state not in NOT_REPORTED:
            event, fields = "report", {"progress": Progress.of(result).dump()}

        attempt = None if event == "start" else getattr(request, "attempt", None)
        change = (task_id, meta, fields, event, attempt)
        if event == "report":
            try:
                answer = self._change(self.report_client, *change)
            except self.connection_errors as error:
                logger.warning("Progress of task %s could not be stored: %s", task_id, error)
                return result
        else:
            answer = self.ensure(self._change, (self.client, *change), max_retries=None)
        if request is not None:
            request.verdict, current_attempt, request.lost = answer
            if event == "start" and request.verdict == "stored":
                request.attempt = current_attempt
        return result

    def mark_as_revoked(
        self, task_id: str, reason: str = "", request: Any = None, *args: Any, **kwargs: Any
    ) -> None:
        """As Celery's, and what was to follow in a chain is REVOKED too instead of PENDING for ever."""
        super().mark_as_revoked(task_id, reason, request, *args, **kwargs)
        if request is not None:
            exception = TaskRevokedError(reason)
            self._fail_chain(getattr(request, "chain", None), exception, state=states.REVOKED)

    def _change(
        self,
        client: Redis,
        task_id: str,
        meta: Mapping[str, Any],
        fields: Mapping[str, Any],
        event: str,
        attempt: int | None = None,
    ) -> tuple[str, int, int]:
        """Run store.lua, which says what its arguments and its answer mean."""
        arguments = [
            self.encode({**meta, "task_id": task_id}),
            dumps(fields),
            event,
            "" if attempt is None else attempt,
            self.expires or 0,
            self.app.flask_app.config["LONGTASK_MAX_ATTEMPTS"],
        ]
        try:
            answer = self._store_script(self._keys(task_id), arguments, client=client)
        except ResponseError as error:
            if any(word in str(error) for word in _CANNOT_WRITE):
                raise RedisConnectionError(str(error)) from error  # which passes, like an outage
            raise
        verdict, current_attempt, lost = answer
        return verdict.decode(), current_attempt, lost


class _Closing:
    """A connection to Redis that is closed when an answer has not come in time, as redis-py's others are.

    Its connections by way of Sentinel stay open: to a master that says nothing any more, and with an answer
    under way that would be taken for that of the next command.
    """

    def read_response(self, *args: Any, disconnect_on_error: bool = True, **options: Any) -> Any:
        return super().read_response(  # type: ignore[misc]
            *args, disconnect_on_error=disconnect_on_error, **options
        )


class SentinelBackend(RedisBackend, celery_redis.SentinelBackend):  # type: ignore[misc]
    """The same for `sentinel://` addresses."""

    def _get_pool(self, **parameters: Any) -> ConnectionPool:
        pool: ConnectionPool = super()._get_pool(**parameters)
        pool.connection_class = type("Connection", (_Closing, pool.connection_class), {})
        return pool

    def _get_web_pool(self, **parameters: Any) -> ConnectionPool:
        return self._get_pool(**parameters)


def _source(script: str) -> str:
    return (files("flask_longtask") / script).read_text()


def _claim_text(claim: Claim, task_ids: Sequence[str]) -> str:
    return json.dumps({"body": claim.body, "tasks": task_ids})


def _load_record(payload: Any) -> Mapping[str, Any] | None:
    try:
        record = loads(payload) if payload else None
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None
