"""A task on its way from the sender to the transport, which records it and pushes its message in one step."""

from collections.abc import Sequence
from contextvars import ContextVar
from secrets import token_hex
from typing import Any

from flask_longtask.store import Acceptance, Accepted, Claim, Queue, Record, Store

#: The most characters of a task's id: RabbitMQ accepts no longer one.
LONGEST_ID = 255


class NotAccepted(Exception):
    """The store has refused a task, so its message was not pushed."""

    def __init__(self, acceptance: Acceptance) -> None:
        super().__init__(acceptance.outcome.value)
        self.acceptance = acceptance


class Sending:
    """A task that is being sent: what the transport needs to record it in the step that pushes its message.

    Raises ValueError for an id of more than LONGEST_ID characters: its status address would be a 404.
    """

    #: The store's answer; None until there is one.
    acceptance: Acceptance | None = None

    def __init__(
        self, store: Store, task_id: str, record: Record, rank: int = 0, **options: Any
    ) -> None:
        for each in (task_id, *options.get("followers", ())):
            if len(each) > LONGEST_ID:
                raise ValueError(
                    f"The id of a task must have at most {LONGEST_ID} characters, not {len(each)}."
                )
        self.store = store
        self.task_id = task_id
        self.record = record
        #: How many priorities come before its own, where another broker keeps the messages.
        self.rank = rank
        self.options = options
        # It stays the same when sending is retried.
        self.nonce = token_hex(16)

    @property
    def in_worker(self) -> bool:
        """Whether a running or ending task sends this one. It may wait for Redis and the broker."""
        return self.options["sender"] is not None

    def accept(self, queue: Queue, message: str = "") -> Acceptance:
        acceptance = self.store.tasks.accept(
            self.task_id, self.record, queue, self.nonce, message=message, **self.options
        )
        self.acceptance = acceptance
        return acceptance


#: The task that this thread or greenlet is sending, where broker and store are the same Redis.
sending: ContextVar[Sending | None] = ContextVar("longtask_sending", default=None)

#: The ended task that this thread or greenlet starts again.
restart_of: ContextVar[str | None] = ContextVar("longtask_restart_of", default=None)

#: The running task whose family the tasks join that this thread or greenlet sends.
parent: ContextVar[str | None] = ContextVar("longtask_parent", default=None)


class Requests:
    """The request that starts a task. This base class knows no request; `FlaskRequests` knows Flask's."""

    def claim(self) -> Claim | None:
        """Return the claim of the request's idempotency key for the next task, if there is one."""
        return None

    def owner(self) -> str | None:
        """Return the user who makes the request, as the app identifies them."""
        return None

    def list_name(self) -> str | None:
        """Return the name of the list of tasks to which the next task is added in the step that accepts it."""
        return None

    def answer_with(self, earlier: Sequence[str], instead_of: Sequence[str]) -> None:
        """Answer the request with the tasks of an earlier one instead of its own."""

    def counts(self, task_id: str) -> str:
        """Return the id of the task that stands for this one: that of an earlier request, or its own id."""
        return task_id

    def on_accepted(self, task_id: str, acceptance: Acceptance) -> None:
        """Note that the request has started a task."""

    def has_started(self) -> bool:
        """Whether the request has started a task."""
        return False

    def refuse(self, outcome: Accepted) -> None:
        """Raise the error for a refused claim."""
