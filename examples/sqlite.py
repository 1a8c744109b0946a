"""SQLite for a gevent server: a connection that waits for a lock without blocking its process.

SQLite's own wait (`PRAGMA busy_timeout`) sleeps in C, so no other greenlet could run meanwhile.
"""

import sqlite3
import time
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from flask import has_request_context

#: Maximum wait for a lock in seconds: in a request, where a client waits for the response, and elsewhere.
REQUEST_WAITS = 1.0
OTHERS_WAIT = 15.0

#: Seconds between two tries. A request tries more often, so that it wins against tasks that write all the time.
REQUEST_PAUSE = 0.002
OTHERS_PAUSE = 0.05

#: Errors that a later try can avoid. After SQLITE_BUSY_SNAPSHOT, the transaction can never write.
_TEMPORARY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_BUSY_RECOVERY)

_Arguments = ParamSpec("_Arguments")
_Answer = TypeVar("_Answer")


class Connection(sqlite3.Connection):
    """A `factory` for `sqlite3.connect`, for use with `timeout=0`."""

    def cursor(self, factory: Any = None) -> Any:
        return super().cursor(factory or _Cursor)

    def commit(self) -> None:
        _patiently(super().commit)


class _Cursor(sqlite3.Cursor):
    def execute(self, *arguments: Any) -> "_Cursor":
        _patiently(super().execute, *arguments)
        return self

    def executemany(self, *arguments: Any) -> "_Cursor":
        _patiently(super().executemany, *arguments)
        return self


def _patiently(
    action: Callable[_Arguments, _Answer],
    *arguments: _Arguments.args,
    **options: _Arguments.kwargs,
) -> _Answer:
    """Call `action` again until no other connection holds its lock. An action that fails as busy has no effect."""
    patience, pause = OTHERS_WAIT, OTHERS_PAUSE
    if has_request_context():
        patience, pause = REQUEST_WAITS, REQUEST_PAUSE
    deadline = time.monotonic() + patience
    while True:
        try:
            return action(*arguments, **options)
        except sqlite3.OperationalError as error:
            code = getattr(error, "sqlite_errorcode", None)  # the driver's own errors have none
            if code not in _TEMPORARY or time.monotonic() > deadline:
                raise
        time.sleep(pause)  # patched by gevent, if the server uses it
