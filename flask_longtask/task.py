"""The base class of tasks: runs them in the Flask app's context, reports progress, stops cancelled tasks."""

from asyncio import CancelledError
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NoReturn, TypeVar

import celery
from billiard.common import terminate_handler_fired
from billiard.exceptions import WorkerLostError
from celery import states
from celery.canvas import Signature
from celery.exceptions import Ignore, Reject, Retry, WorkerShutdown, WorkerTerminate
from celery.result import AsyncResult, EagerResult, GroupResult
from celery.utils import uuid
from kombu.exceptions import OperationalError

from flask_longtask.celery import attempt, checkpoints, stalls
from flask_longtask.celery.kept_logs import keep_logs
from flask_longtask.celery.sender import NotQueued
from flask_longtask.celery.sending import parent
from flask_longtask.store import Change, LogLine, Outcome
from flask_longtask.store.history import MOST_LINES
from flask_longtask.task_parts.tracker import Line, Loop, Tracker

Item = TypeVar("Item")


#: The task that this thread or greenlet runs, and its request. Celery takes a whole microsecond to find the request.
_run: ContextVar[tuple[Any, Any] | None] = ContextVar("longtask_run", default=None)

#: The outcomes of a report that stop the running task.
_REFUSED = frozenset({Outcome.CANCELLED, Outcome.SUPERSEDED})


class TaskCancelled(Ignore):  # type: ignore[misc]  # Celery has no types
    """Raised inside a cancelled task when it next reports progress.

    Clean up in a `finally` block; do not swallow the exception.
    """


class _NotCurrent(Ignore):  # type: ignore[misc]
    """Raised in an attempt that is not the current one: the task has ended, or another worker runs it."""


class TaskExited(Exception):
    """Raised instead of an exception that Celery takes for the end of the process, such as `SystemExit`."""


class NotRetried(Exception):
    """Raised in place of Celery's `Retry` if nothing was sent to try the task again."""


class Task(celery.Task):  # type: ignore[misc]
    """The base class of all tasks of an app, in addition to the base class that a task's author has chosen.

    A task written for plain Celery works unchanged. Private names begin with two underscores, which Python mangles,
    so that they cannot clash with those of a task's author.
    """

    #: Whether the lines of loggers are kept, too: those of `celery.utils.log.get_task_logger`, and all others below
    #: the logger "celery.task", as far as the worker's log level lets them pass.
    keep_log = False

    #: Compares `eta` and `expires` with Redis's clock.
    Request = "flask_longtask.celery.worker.request:Request"

    #: For how many seconds the running task may be silent: neither report, nor log, nor keep a checkpoint. When it is
    #: silent for longer, its attempt is ended, and it is tried again at once, like a task whose worker was lost.
    stall_seconds: float | None = None

    #: Whether the task may be started again, with the same arguments, after it has failed or was cancelled.
    #: For that its arguments are kept in Redis, for as long as the record of the ended task.
    restartable = False

    def apply_async(self, *args: Any, **kwargs: Any) -> AsyncResult:
        """Like Celery's. In a request that repeats an `Idempotency-Key`, return the earlier task's result."""
        result = super().apply_async(*args, **kwargs)
        if isinstance(result, AsyncResult):  # an author's own `apply_async` may return anything
            result.id = self.app.requests.counts(result.id)
        return result

    def apply(
        self,
        args: Any = None,
        kwargs: Any = None,
        link: Any = None,
        link_error: Any = None,
        task_id: str | None = None,
        retries: int | None = None,
        **options: Any,
    ) -> EagerResult:
        """Like Celery's. With `task_always_eager`, record the task like any other, so that it has a bar."""
        task_id = task_id or uuid()
        is_new = self.app.conf.task_always_eager and not retries
        if is_new and not self.app.amqp.accept_eager(task_id, self.name):
            return EagerResult(task_id, None, states.PENDING)
        try:
            try:
                return super().apply(args, kwargs, link, link_error, task_id, retries, **options)
            # With `task_eager_propagates`, Celery itself does not retry.
            except Retry as retry:
                if retry.sig is None or not self.app.conf.task_always_eager:
                    raise
                return retry.sig.apply(retries=(retries or 0) + 1, throw=options.get("throw"))
        except Exception as error:  # with `task_eager_propagates`
            if is_new:
                self.backend.mark_as_failure(task_id, error)
            raise

    @property
    def store_eager_result(self) -> bool:
        """Whether Celery stores the results of eager tasks."""
        return bool(self.app.conf.task_always_eager or self.__dict__.get("store_eager_result"))

    @store_eager_result.setter
    def store_eager_result(self, value: bool) -> None:
        self.__dict__["store_eager_result"] = value

    @property
    def __is_followed(self) -> bool:
        """Whether this run has a record. A plain function call and Celery's `apply` have none."""
        request = self.request
        return bool(request.id) and (not request.is_eager or self.app.conf.task_always_eager)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        call = super().__call__
        if call.__func__ is celery.Task.__call__:
            call = self.run
        request = self.request
        if getattr(request, "is_entered", False):
            # The task calls itself as a function. That is a part of the same run.
            return call(*args, **kwargs)
        # All plain function calls share one request.
        request.is_entered = not request.called_directly
        token = _run.set((self, request))
        try:
            with self.app.flask_app.app_context():
                result = self.__run(call, *args, **kwargs)
                self.__stop_tracking(report=False)
                return result
        finally:
            _run.reset(token)
            self.__end_tracking()

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        """Record the start of this attempt, or prevent it.

        Raises TaskCancelled if the task has been cancelled, Ignore if it has ended or another worker runs it,
        WorkerLostError if it has lost its worker too often, and TaskStalled if it has stalled too often.
        """
        if self.__is_followed:
            self.__record_start(task_id)
            if self.keep_log:
                keep_logs(self.request, self.__tracker())
        self.__run(super().before_start, task_id, args, kwargs)

    def __run(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call what the task's author has written, and store how it ends where Celery does not."""
        try:
            with self.__ending_by_failures():
                return call(*args, **kwargs)
        except Exception as exception:
            self.__stop_tracking(report=True)
            self.__store_missing_state(exception)
            raise

    @contextmanager
    def __ending_by_failures(self) -> Iterator[None]:
        """Raise a failure in place of what would end the process, or leave the task waiting forever."""
        try:
            yield
        except (WorkerShutdown, WorkerTerminate):
            raise  # Celery's own, where a task runs in the worker's main thread
        except (SystemExit, KeyboardInterrupt, CancelledError, MemoryError) as error:
            if terminate_handler_fired():  # the process was sent a signal, and is lost
                raise
            # Celery would take the process for lost or, for MemoryError, end the whole worker.
            detail = f": {error}" if str(error) else ""
            raise TaskExited(f"The task was ended by {type(error).__name__}{detail}") from error
        except Retry as retry:
            # `self.retry()` sends a message, and raises this with its signature.
            if retry.sig is None and self.__is_followed:
                raise NotRetried(
                    "Retry was raised, but nothing was sent to try the task again: call self.retry() instead."
                ) from retry
            raise

    def __record_start(self, task_id: str) -> None:
        request, backend = self.request, self.backend
        run = attempt.describe_run(self, request, self.app.broker_is_store)
        change = backend.start(task_id, run, **self.__pool_limits())
        if change.outcome is Outcome.ENDED:
            if request.chord:
                backend.count_in_chord(request)
            if request.chain:
                backend.end_chain(task_id)
            raise _NotCurrent("the task has ended")
        if change.outcome is Outcome.EXHAUSTED:
            if change.stalled:
                raise stalls.TaskStalled.after(self.stall_seconds, change)
            raise WorkerLostError(
                f"Its worker was lost {change.lost} times, so it is not started again."
            )
        self.__stop_if_refused(change)
        attempt.remember(request, run._replace(attempt=change.attempt, started=change.now))
        request.chain_at_start = request.chain or None
        if not request.is_eager:
            request.last_checkpoint = checkpoints.load(change.checkpoint)

    def __pool_limits(self) -> dict[str, Any]:
        """Return what this worker's pool cannot do for the task, so that its bar can say so."""
        if attempt.Pool.can_stop_tasks:
            return {}
        hard, _ = self.request.timelimit or (None, None)
        return {
            "unstoppable": 1,
            "time_limit": hard or self.time_limit,
            "stall_seconds": self.stall_seconds,
        }

    def update_state(
        self, task_id: str | None = None, state: str | None = None, meta: Any = None, **kwargs: Any
    ) -> None:
        """Report progress, as with plain Celery. `state` defaults to PROGRESS.

        `meta` should be a dict with `current`, `total` and `status`, a sentence for people to read.
        Clients get everything else in it as the field `meta` of the status, up to 16,000 bytes of
        JSON; more than that is left out, with a warning in the worker's log.
        Raises TaskCancelled if the task has been cancelled.
        """
        request = self.request
        is_its_own = task_id is None or task_id == request.id
        if is_its_own and not self.__is_followed:
            return
        super().update_state(task_id=task_id, state=state or "PROGRESS", meta=meta, **kwargs)
        if is_its_own:
            self.__stop_if_refused(getattr(request, "change", None))

    def checkpoint(self, value: Any) -> None:
        """Keep a value for the task's next attempt, which finds it as `last_checkpoint`.

        There is another attempt after a lost worker, a worker that was stopped, as by a deploy, or a
        retry. Its bar goes on from the last progress instead of from zero. `value` is anything that
        JSON can express, at most 16,000 bytes of it; it replaces the one before. While Redis is
        away, a warning is logged and the task goes on.

        Raises TypeError or ValueError for a value that cannot be kept, and TaskCancelled if the task
        has been cancelled.
        """
        text = checkpoints.dump(value)
        request = self.request
        if self.__is_followed:
            self.__stop_if_refused(self.backend.keep_checkpoint(request.id, text, request))

    @property
    def last_checkpoint(self) -> Any:
        """What an earlier attempt at this task has last passed to `checkpoint`; None in the first attempt."""
        return getattr(self.request, "last_checkpoint", None)

    def track(
        self, iterable: Iterable[Item], message: str = "", total: float | None = None
    ) -> Iterator[Item]:
        """Report the progress of a loop: `for row in self.track(rows, "Importing rows"): …`

        However fast the loop runs, its progress is reported at most every 100 ms and at most 100 ms
        late. `total` is the number of items of an iterable without a length; if it is unknown, the
        bar shows only the message. Raises TaskCancelled in the loop if the task has been cancelled.
        """
        if not self.__is_followed:
            yield from iterable
            return
        tracker = self.__tracker()
        if total is None and isinstance(iterable, Sized):
            total = len(iterable)
        loop = Loop(total, message)
        tracker.enter(loop)
        done = -1
        try:
            for done, item in enumerate(iterable):
                loop.current = done
                if tracker.refused:
                    self.__stop_if_refused(tracker.refused)
                yield item
            loop.current = done + 1
        finally:  # the loop may be left by a break
            tracker.leave(loop)

    def log(self, text: object, level: str = "info") -> None:
        """Log a line, which the task's page shows and `GET /status/<id>/history` returns.

        Each line of a longer text is a line of its own, of at most 1,000 characters. The last 500 lines of a task are
        kept. `level` is a word such as those of `logging`: debug, info, warning, error or critical.

        Lines are stored at most every 100 ms, and when the task ends: a million of them cost little more
        than writing them to a file. A plain function call logs nothing, nor does a thread that the task has started,
        unless that runs in a copy of the task's context (`contextvars.copy_context`).
        """
        run = _run.get()
        request = run[1] if run and run[0] is self else self.request
        tracker = getattr(request, "tracker", None)
        if tracker is None:
            if not self.__is_followed:
                return
            tracker = self.__tracker()
        tracker.log(text, level)

    def delay_child(self, signature: Signature, **options: Any) -> AsyncResult | GroupResult:
        """Start a task that belongs to this one: `self.delay_child(resize.s(path, 200))`.

        This task and its children become one family with one bar, at this task's address: it has succeeded when all of
        them have, and cancelling it cancels them all. `signature` may also be a group, a chain or a chord. `options`
        are those of `apply_async`. A task that is tried again starts its children again, too.
        """
        token = parent.set(self.request.id if self.__is_followed else None)
        try:
            return signature.apply_async(**options)
        finally:
            parent.reset(token)

    def delay_on_commit(self, *args: Any, **kwargs: Any) -> AsyncResult:
        """Like `delay`, but send the task once Flask-SQLAlchemy's session has committed."""
        return self.apply_async_on_commit(args, kwargs)

    def apply_async_on_commit(
        self,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        session: Any = None,
        **options: Any,
    ) -> AsyncResult:
        """Like `apply_async`, but send the task once the current transaction of `session` has committed.

        The worker then finds the rows that were written. If the transaction, or the savepoint that this
        was called in, is rolled back, nothing is sent. `session` is any SQLAlchemy session and defaults
        to Flask-SQLAlchemy's. The result already has the task's id: after the commit, answer a request
        with `accepted(result)`. If an argument is the key of a new row, flush first.

        `commit()` raises NotQueued if the task cannot be queued.
        """
        from flask_longtask.task_parts.on_commit import on_commit  # noqa: PLC0415  # SQLAlchemy is optional

        if session is None:
            session = self.app.flask_app.extensions["sqlalchemy"].session
        task_id = options.pop("task_id", None) or uuid()

        def publish() -> None:
            try:
                self.apply_async(args, kwargs, task_id=task_id, **options)
            except OperationalError as error:
                raise NotQueued(f"{self.name} could not be queued: {error}") from error

        on_commit(session, publish)
        return self.AsyncResult(task_id)

    def retry(self, *args: Any, **kwargs: Any) -> Any:
        """Like Celery's. The lines of this attempt are stored first, since the next may start before this one ends."""
        self.__write_lines()
        return super().retry(*args, **kwargs)

    def replace(self, sig: Any) -> Any:
        """Like Celery's. Another task goes on under this task's id, so Celery's `Ignore` is not its end.

        Of a chain, group or chord that replaces this task, the other tasks are parts of its family.
        """
        self.request.replaced = True
        self.__write_lines()
        token = parent.set(self.request.id if self.__is_followed else None)
        try:
            return super().replace(sig)
        finally:
            parent.reset(token)

    def __tracker(self) -> Tracker:
        request = self.request
        if not hasattr(request, "tracker"):
            # The request and the backend belong to the task's thread: pass them to the tracker's thread.
            backend = self.backend

            def report(current: int, total: float | None, message: str) -> Change | None:
                if total is None:
                    current, total = 0, 1
                meta = {"current": current, "total": total, "status": message}
                change: Change | None = backend.store_state(
                    request.id, meta, "PROGRESS", request=request
                )
                return change if change and change.outcome in _REFUSED else None

            def write(before: int, lines: Sequence[Line]) -> bool:
                written: bool = backend.log(request, before, [LogLine(*line) for line in lines])
                return written

            request.tracker = Tracker(report, write, MOST_LINES)
            if getattr(request, "has_run", False):  # a handler of its end logs the first line
                request.tracker.end()
        tracker: Tracker = request.tracker
        return tracker

    def __write_lines(self) -> None:
        tracker = getattr(self.request, "tracker", None)
        if tracker is not None:
            tracker.write_lines()

    def __stop_tracking(self, report: bool) -> None:
        tracker = getattr(self.request, "tracker", None)
        if tracker is not None:
            tracker.stop(report)

    def __end_tracking(self) -> None:
        """Leave no thread behind, however this run has ended: gevent kills a greenlet by no `Exception`."""
        request = self.request
        request.has_run = True
        tracker = getattr(request, "tracker", None)
        if tracker is not None:
            tracker.end()

    def __stop_if_refused(self, change: Change | None) -> None:
        if change is None:
            return
        if change.outcome is Outcome.SUPERSEDED:
            raise _NotCurrent("another worker has taken over the task")
        if change.outcome is Outcome.CANCELLED:
            self.__stop_cancelled()

    def __stop_cancelled(self) -> NoReturn:
        """End this run, and notify the task's chord, its chain and Flower."""
        self.backend.mark_as_revoked(self.request.id, "cancelled", request=self.request)
        self.send_event("task-revoked", terminated=True, signum=None, expired=False)
        raise TaskCancelled("cancelled")

    def __store_missing_state(self, exception: Exception) -> None:
        """Store a state that Celery does not store, without which the bar would stand still for ever."""
        request = self.request
        if not self.__is_followed or isinstance(exception, TaskCancelled | _NotCurrent):
            return
        is_ignored = request.ignore_result or self.ignore_result
        if isinstance(exception, Ignore) and not getattr(request, "replaced", False):
            self.backend.store_result(request.id, None, states.IGNORED, request=request)
            if request.chain or request.chord:
                self.backend.end_chain(request.id)
        elif isinstance(exception, Retry) and (request.is_eager or is_ignored):
            self.backend.store_result(request.id, exception.exc, states.RETRY, request=request)
        elif request.is_eager and isinstance(exception, Reject):  # there is no message to reject
            self.backend.mark_as_failure(request.id, exception, request=request)
        elif isinstance(exception, Reject) and exception.requeue:
            self.backend.hand_back(request.id, attempt.WORKER_ID, self.backend.patient_store)
        elif isinstance(exception, Reject):  # Celery 5.7 stores it, but 5.6 does not
            self.backend.store_result(request.id, exception, states.FAILURE, request=request)
