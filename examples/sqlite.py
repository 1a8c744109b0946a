"""SQLite for a server of many greenlets: a connection that waits for a lock without stopping its process.

SQLite's own waiting (`PRAGMA busy_timeout`) is a sleep in C, in which gevent can run nobody else.
"""

import sqlite3
import time
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from flask import has_request_context

#: Seconds for which a lock is waited for: by a request, since somebody waits for its answer, and by all else.
REQUEST_WAITS = 1.0
OTHERS_WAIT = 15.0

#: Seconds between two tries, so much shorter for a request that it does not lose to tasks that write all the time.
REQUEST_PAUSE = 0.002
OTHERS_PAUSE = 0.05

#: Not SQLITE_BUSY_SNAPSHOT: what began by reading, before another wrote, can never write.
_PASSING = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_BUSY_RECOVERY)

_Arguments = ParamSpec("_Arguments")
_Answer = TypeVar("_Answer")


class Connection(sqlite3.Connection):
    """To be given to `sqlite3.connect` as its `factory`, with `timeout=0`."""

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
    """Do this as soon as nobody else has the lock that it needs. SQLite has done nothing when it says "busy"."""
    patience, pause = OTHERS_WAIT, OTHERS_PAUSE
    if has_request_context():
        patience, pause = REQUEST_WAITS, REQUEST_PAUSE
    deadline = time.monotonic() + patience
    while True:
        try:
            return action(*arguments, **options)
        except sqlite3.OperationalError as error:
            code = getattr(error, "sqlite_errorcode", None)  # the driver's own errors have none
            if code not in _PASSING or time.monotonic() > deadline:
                raise
        time.sleep(pause)  # gevent's, where there is gevent
