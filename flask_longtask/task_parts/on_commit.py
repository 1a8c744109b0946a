"""Calls a function once a database transaction has committed, and never if it has not.

Knows SQLAlchemy, which is optional and imported nowhere else in this package, but not Celery.
"""

import logging
from collections.abc import Callable
from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import Session, SessionTransaction, scoped_session

logger = logging.getLogger(__name__)

Action = Callable[[], Any]


def on_commit(session: Session | scoped_session[Any], action: Action) -> None:
    """Call `action` once the session's transaction, and each savepoint around this call, has committed.

    The session has returned its connection by then, so `action` neither holds up nor sees the
    database. `commit()` calls all actions before it raises the first exception of any. The
    transaction has committed all the same, and the session can still be used.
    """
    session = session() if isinstance(session, scoped_session) else session
    # SQLAlchemy begins a transaction when a session is first used, which may be here.
    transaction = session.get_nested_transaction() or session.get_transaction() or session.begin()
    waiting = session.info.get(__name__)
    if waiting is None:
        waiting = session.info[__name__] = _Waiting(session)
    waiting.actions.setdefault(transaction, []).append(action)


class _Waiting:
    """The actions that wait for the transactions of one session."""

    def __init__(self, session: Session) -> None:
        #: By the savepoint or, outside of any, the transaction on which they depend.
        self.actions: dict[SessionTransaction, list[Action]] = {}
        self._due: list[Action] = []
        event.listen(session, "after_commit", self._committed)
        event.listen(session, "after_transaction_end", self._ended)

    def _committed(self, session: Session) -> None:
        """Handle the commit of the transaction, or the release of a savepoint, which is not yet a commit."""
        savepoint = session.get_nested_transaction()
        if savepoint is None:
            transaction = session.get_transaction()
            assert transaction is not None
            self._due = self.actions.pop(transaction, [])
        elif savepoint in self.actions:
            outer = _outer(savepoint)
            self.actions[outer] = self.actions.get(outer, []) + self.actions.pop(savepoint)

    def _ended(self, session: Session, transaction: SessionTransaction) -> None:
        """Call the actions that are due. Runs after `_committed`, or without it if there was no commit."""
        self.actions.pop(transaction, None)
        due, self._due = self._due, []
        failure: Exception | None = None
        for action in due:
            try:
                action()
            except Exception as error:  # the other actions must be called all the same
                if failure:
                    logger.exception("Another action after the same commit has failed, too.")
                failure = failure or error
        if failure:
            raise failure


def _outer(savepoint: SessionTransaction) -> SessionTransaction:
    """The savepoint or transaction around this one."""
    outer = savepoint.parent
    while outer is not None and outer.parent is not None and not outer.nested:
        outer = outer.parent  # a flush has a transaction of its own, which is not a savepoint
    assert outer is not None
    return outer
