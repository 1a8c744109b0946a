"""What a task is: it runs in the Flask app's context, reports progress, stops when it is cancelled."""

from asyncio import CancelledError
from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import Any, NoReturn, TypeVar

import celery
from billiard.common import terminate_handler_fired
from billiard.exceptions import WorkerLostError
from celery import states
from celery.exceptions import Ignore, Reject, Retry, WorkerShutdown, WorkerTerminate
from celery.result import AsyncResult, EagerResult
from celery.utils import uuid
from kombu.exceptions import OperationalError

from flask_longtask.celery import attempt
from flask_longtask.celery.sender import NotQueued
from flask_longtask.store import Change, Outcome
from flask_longtask.tracker import Loop, Tracker

Item = TypeVar("Item")


#: What may come of a report after which a running task stops.
_REFUSED = frozenset({Outcome.CANCELLED, Outcome.SUPERSEDED})


class TaskCancelled(Ignore):  # type: ignore[misc]  # Celery has no types
    """Raised inside a task at its next report of progress after it was cancelled.

    Put right what must be put right in a `finally`; do not swallow it.
    """


class _NotOurs(Ignore):  # type: ignore[misc]
    """This run is not the one that counts: the task has ended, or another worker runs it."""


class TaskExited(Exception):
    """A task has tried to end its process, by `sys.exit()` for instance. That is a failure of its own."""


class Task(celery.Task):  # type: ignore[misc]
    """What every task of an app is, whatever base class its author has given it.

    A task written for plain Celery works on it unchanged. Names with two underscores are none that its author may
    have used.
    """

    #: By it `eta` and `expires` are compared with Redis's clock.
    Request = "flask_longtask.celery.worker.request:Request"

    def apply_async(self, *args: Any, **kwargs: Any) -> AsyncResult:
        """As Celery's. In a request with an `Idempotency-Key` that has come before, the earlier task's."""
        result = super().apply_async(*args, **kwargs)
        if isinstance(result, AsyncResult):  # its author's own `apply_async` may return anything
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
        """As Celery's. With `task_always_eager` the task is recorded as any other: it has a bar, which ends."""
        task_id = task_id or uuid()
        is_new = self.app.conf.task_always_eager and not retries
        if is_new and not self.app.amqp.accept_eager(task_id, self.name):
            return EagerResult(task_id, None, states.PENDING)
        try:
            try:
                return super().apply(args, kwargs, link, link_error, task_id, retries, **options)
            # With `task_eager_propagates` Celery itself tries nothing again.
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
        """Whether Celery stores what came of an eager task."""
        return bool(self.app.conf.task_always_eager or self.__dict__.get("store_eager_result"))

    @store_eager_result.setter
    def store_eager_result(self, value: bool) -> None:
        self.__dict__["store_eager_result"] = value

    @property
    def __is_followed(self) -> bool:
        """Whether there is a record of what runs: not of a plain function call, nor of Celery's `apply`."""
        request = self.request
        return bool(request.id) and (not request.is_eager or self.app.conf.task_always_eager)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with self.app.flask_app.app_context():
            try:
                result = self.__run(args, kwargs)
            except Exception as exception:
                self.__stop_tracking(report=True)
                self.__store_what_celery_leaves_out(exception)
                raise
            self.__stop_tracking(report=False)
            return result

    def __run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        theirs = super().__call__
        try:
            if theirs.__func__ is celery.Task.__call__:
                return self.run(*args, **kwargs)
            return theirs(*args, **kwargs)
        except (
            WorkerShutdown,
            WorkerTerminate,
        ):  # Celery's own, where a task runs in the worker's main thread
            raise
        except (SystemExit, KeyboardInterrupt, CancelledError, MemoryError) as error:
            if terminate_handler_fired():  # somebody has sent this process a signal: it is lost
                raise
            # To Celery the process is gone, or, for MemoryError, the whole worker has to end.
            said = f": {error}" if str(error) else ""
            raise TaskExited(f"The task was ended by {type(error).__name__}{said}") from error

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        """Record that this attempt starts, or keep it from starting.

        Raises TaskCancelled, Ignore for a message that was delivered again although the task has ended,
        and WorkerLostError for a task that has lost its worker too often.
        """
        if self.__is_followed:
            self.__record_start(task_id)
        super().before_start(task_id, args, kwargs)

    def __record_start(self, task_id: str) -> None:
        request, backend = self.request, self.backend
        this = attempt.describe_run(self, request, self.app.broker_is_store)
        change = backend.start(task_id, this, **self.__beyond_the_pool())
        if change.outcome is Outcome.ENDED:
            if request.chord:
                backend.count_in_chord(request)
            raise _NotOurs("the task has ended")
        if change.outcome is Outcome.EXHAUSTED:
            raise WorkerLostError(
                f"Its worker was lost {change.lost} times, so it is not started again."
            )
        self.__stop_if_refused(change)
        attempt.remember(request, this._replace(attempt=change.attempt, started=change.now))

    def __beyond_the_pool(self) -> dict[str, Any]:
        """What the pool of this worker cannot do for the task, so that its bar can say so."""
        if attempt.Pool.can_stop_tasks:
            return {}
        hard, _ = self.request.timelimit or (None, None)
        return {"unstoppable": 1, "time_limit": hard or self.time_limit}

    def update_state(
        self, task_id: str | None = None, state: str | None = None, meta: Any = None, **kwargs: Any
    ) -> None:
        """Report progress, as with plain Celery. Without a `state` it is PROGRESS.

        `meta` is best a dict of `current`, `total` and `status`, a sentence for a person.
        Raises TaskCancelled if the task has been cancelled.
        """
        request = self.request
        is_its_own = task_id is None or task_id == request.id
        if is_its_own and not self.__is_followed:
            return
        super().update_state(task_id=task_id, state=state or "PROGRESS", meta=meta, **kwargs)
        if is_its_own:
            self.__stop_if_refused(getattr(request, "change", None))

    def track(
        self, iterable: Iterable[Item], message: str = "", total: float | None = None
    ) -> Iterator[Item]:
        """Follow a loop: `for row in self.track(rows, "Importing rows"): …`

        However fast the loop turns, its progress is reported at most every 100 ms and at most 100 ms
        late. `total` is the number of items of an iterable without a length; where it is unknown the
        bar shows the message alone. Raises TaskCancelled in the loop if the task has been cancelled.
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

    def delay_on_commit(self, *args: Any, **kwargs: Any) -> AsyncResult:
        """As `delay`, but once the transaction of Flask-SQLAlchemy's session has committed."""
        return self.apply_async_on_commit(args, kwargs)

    def apply_async_on_commit(
        self,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        session: Any = None,
        **options: Any,
    ) -> AsyncResult:
        """As `apply_async`, but once the transaction that `session` is in has committed.

        So the worker finds the rows that were written, and nothing is sent when the transaction, or the
        savepoint that this was called in, is rolled back. `session` is any SQLAlchemy session, by default
        Flask-SQLAlchemy's. The result's id is the one that the task will have: after the commit,
        `accepted(result)` answers a request. Flush first, where an argument is a new row's key.

        `commit()` raises NotQueued if the task could not be queued then.
        """
        from flask_longtask.on_commit import on_commit  # noqa: PLC0415  # SQLAlchemy is optional

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

    def replace(self, sig: Any) -> Any:
        """As Celery's: another task goes on under this one's id, so this one's `Ignore` is no end."""
        self.request.replaced = True
        return super().replace(sig)

    def __tracker(self) -> Tracker:
        request = self.request
        if not hasattr(request, "tracker"):
            # The request and the backend are the task's thread's own; the tracker's must be handed them.
            backend = self.backend

            def report(current: int, total: float | None, message: str) -> Change | None:
                if total is None:
                    current, total = 0, 1
                meta = {"current": current, "total": total, "status": message}
                change: Change | None = backend.store_state(
                    request.id, meta, "PROGRESS", request=request
                )
                return change if change and change.outcome in _REFUSED else None

            request.tracker = Tracker(report)
        tracker: Tracker = request.tracker
        return tracker

    def __stop_tracking(self, report: bool) -> None:
        tracker = getattr(self.request, "tracker", None)
        if tracker is not None:
            tracker.stop(report)

    def __stop_if_refused(self, change: Change | None) -> None:
        if change is None:
            return
        if change.outcome is Outcome.SUPERSEDED:
            raise _NotOurs("another worker has taken the task up")
        if change.outcome is Outcome.CANCELLED:
            self.__stop_cancelled()

    def __stop_cancelled(self) -> NoReturn:
        """End this run, and tell the task's chord, its chain and Flower."""
        self.backend.mark_as_revoked(self.request.id, "cancelled", request=self.request)
        self.send_event("task-revoked", terminated=True, signum=None, expired=False)
        raise TaskCancelled("cancelled")

    def __store_what_celery_leaves_out(self, exception: Exception) -> None:
        """States that Celery does not store, for which the bar would stand still for ever."""
        request = self.request
        if not self.__is_followed or isinstance(exception, TaskCancelled | _NotOurs):
            return
        if isinstance(exception, Ignore) and not getattr(request, "replaced", False):
            self.backend.store_result(request.id, None, "IGNORED", request=request)
        elif request.is_eager and isinstance(exception, Retry):
            self.backend.store_result(request.id, exception.exc, states.RETRY, request=request)
        elif request.is_eager and isinstance(exception, Reject):  # there is no message to reject
            self.backend.mark_as_failure(request.id, exception, request=request)
        elif isinstance(exception, Reject) and exception.requeue:
            self.backend.hand_back(request.id, attempt.WORKER_ID, self.backend.patient_store)
        elif isinstance(exception, Reject):  # Celery 5.7 stores it, but 5.6 does not
            self.backend.store_result(request.id, exception, states.FAILURE, request=request)
