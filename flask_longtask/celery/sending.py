"""A task on its way from the sender to the step in which it is recorded and its message is pushed."""

from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any
from uuid import uuid4

from flask_longtask.store import Acceptance, Accepted, Claim, Queue, Record, Store


class NotAccepted(Exception):
    """The store has refused a task, so that its message was not pushed."""

    def __init__(self, acceptance: Acceptance) -> None:
        super().__init__(acceptance.outcome.value)
        self.acceptance = acceptance


class Sending:
    """A task that is being sent: what the transport needs to record it in the step that pushes its message."""

    #: What came of it; None before.
    acceptance: Acceptance | None = None

    def __init__(
        self, store: Store, task_id: str, record: Record, rank: int = 0, **options: Any
    ) -> None:
        self.store = store
        self.task_id = task_id
        self.record = record
        #: Its place by priority, where another broker keeps the messages.
        self.rank = rank
        self.options = options
        # The same in each try to send it.
        self.nonce = uuid4().hex

    @property
    def in_worker(self) -> bool:
        """Whether a task sends it, or the end of one, which may wait for Redis and the broker."""
        return bool(self.options["in_worker"])

    def accept(self, queue: Queue, message: str = "") -> Acceptance:
        acceptance = self.store.tasks.accept(
            self.task_id, self.record, queue, self.nonce, message=message, **self.options
        )
        self.acceptance = acceptance
        return acceptance


#: The task that this thread or greenlet sends by way of a broker which is the store as well.
sending: ContextVar[Sending | None] = ContextVar("longtask_sending", default=None)


class Requests:
    """What is known of the request that starts a task: nothing here. `FlaskRequests` knows Flask's."""

    def claim(self) -> Claim | None:
        """The claim of its idempotency key on the next task."""
        return None

    def owner(self) -> str | None:
        """Who is asking, as the app knows it."""
        return None

    def answer_with(self, earlier: Sequence[str], instead_of: Sequence[str]) -> None:
        """Tasks of an earlier request stand for the ones that this request has just made up."""

    def counts(self, task_id: str) -> str:
        """The id of the task that stands for this one: in most cases it itself."""
        return task_id

    def on_accepted(self, task_id: str, acceptance: Acceptance) -> None:
        """The request has started a task."""

    def refuse(self, outcome: Accepted) -> None:
        """The claim is refused: raise what says so."""
