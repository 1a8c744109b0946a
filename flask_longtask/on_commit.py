"""Does something once a database transaction has committed, and never if it has not.

Knows SQLAlchemy, which is optional and imported nowhere else in this package, and nothing of Celery.
"""

import logging
from collections.abc import Callable
from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import Session, SessionTransaction, scoped_session

logger = logging.getLogger(__name__)

Action = Callable[[], Any]


def on_commit(session: Session | scoped_session[Any], action: Action) -> None:
    """Call `action` when the transaction that this session is in has committed, savepoints and all.

    It is called with the connection already given back, so it neither holds up nor sees the database.
    What it raises comes out of `commit()`, after all other actions were called: the transaction has
    committed then, and the session is as usable as ever.
    """
    session = session() if isinstance(session, scoped_session) else session
    # SQLAlchemy begins a transaction with the first use of a session, and this is one.
    transaction = session.get_nested_transaction() or session.get_transaction() or session.begin()
    waiting = session.info.get(__name__)
    if waiting is None:
        waiting = session.info[__name__] = _Waiting(session)
    waiting.actions.setdefault(transaction, []).append(action)


class _Waiting:
    """What waits for the transactions of one session."""

    def __init__(self, session: Session) -> None:
        #: By the savepoint, or else the transaction, on which they depend.
        self.actions: dict[SessionTransaction, list[Action]] = {}
        self._due: list[Action] = []
        event.listen(session, "after_commit", self._committed)
        event.listen(session, "after_transaction_end", self._ended)

    def _committed(self, session: Session) -> None:
        """A savepoint was released, which is not yet a commit, or the transaction has committed."""
        savepoint = session.get_nested_transaction()
        if savepoint is None:
            transaction = session.get_transaction()
            assert transaction is not None
            self._due = self.actions.pop(transaction, [])
        elif savepoint in self.actions:
            outer = _outer(savepoint)
            self.actions[outer] = self.actions.get(outer, []) + self.actions.pop(savepoint)

    def _ended(self, session: Session, transaction: SessionTransaction) -> None:
        """Comes after `_committed`, or without it where there was no commit."""
        self.actions.pop(transaction, None)
        due, self._due = self._due, []
        failure: Exception | None = None
        for action in due:
            try:
                action()
            except Exception as error:  # the others have been promised too
                if failure:
                    logger.exception("After a commit this failed, and another action before it.")
                failure = failure or error
        if failure:
            raise failure


def _outer(savepoint: SessionTransaction) -> SessionTransaction:
    """The savepoint or transaction around this one."""
    outer = savepoint.parent
    while outer is not None and outer.parent is not None and not outer.nested:
        outer = outer.parent  # a flush has one of its own, which is neither
    assert outer is not None
    return outer
