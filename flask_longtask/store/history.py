"""The history of tasks: the earlier attempts at each, and the lines that it has logged. Each is a list in Redis.

An attempt is a JSON object with `number`, `started`, `finished`, `worker`, `outcome` and `error`. The present attempt
is not in the list: the record describes it, see tasks.py. A line is a JSON list: its number, its time, its level, the
number of its attempt, and its text. Times are seconds since 1970 by Redis's clock.
"""

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from flask_longtask.json_text import loads, pack
from flask_longtask.record import Record, load_record
from flask_longtask.store.clock import Clock
from flask_longtask.store.keys import Keys
from flask_longtask.store.scripts import Scripts
from flask_longtask.store.types import Run

#: How many lines of a task are kept: the last ones.
MOST_LINES = 500


class LogLine(NamedTuple):
    """A line that a task has logged."""

    at: float  # by this process's monotonic clock
    level: str
    text: str


class StoredHistory(NamedTuple):
    """What Redis holds. Anybody may have written it."""

    record: Record
    attempts: Sequence[object]
    lines: Sequence[object]


class History:
    """The histories in one Redis. Every method is one round trip.

    Each raises redis.exceptions.RedisError when Redis does not answer.
    """

    def __init__(self, keys: Keys, clock: Clock, scripts: Scripts) -> None:
        self._keys = keys
        self._clock = clock
        self._scripts = scripts

    def log(self, task_id: str, run: Run, before: int, lines: Sequence[LogLine]) -> bool:
        """Keep lines that an attempt has logged. `before` is how many lines it has logged before these.

        Returns False if the task has no record at the moment. The lines of an attempt that is not the present one are
        dropped.
        """
        since, started = self._clock.now() - time.monotonic(), run.started or 0
        texts = [
            # In milliseconds, and never before the attempt has started.
            pack([max(started, round(since + at, 3)), level, run.attempt, text])[1:-1]
            for at, level, text in lines
        ]
        outcome, now = self._scripts.run(
            "log",
            *texts,
            id=task_id,
            attempt=run.attempt,
            nonce=run.nonce,
            before=before,
            most=MOST_LINES,
        )
        self._clock.set(float(now))
        return bool(outcome != b"unknown")

    def read(self, task_id: str, after: int = 0) -> StoredHistory | None:
        """Return what is stored; None for a task that does not exist.

        Of the lines, return those with greater numbers than `after`. If no line has had this number yet, it was that
        of an earlier task with the same id, and all lines are returned.
        """
        is_known, record, attempts, lines = self._scripts.run(
            "history",
            keys=[self._keys.document(task_id)],
            id=task_id,
            after=after,
            most=MOST_LINES,
        )
        if not is_known:
            return None
        return StoredHistory(
            load_record(record) or {},
            [_load(text) for text in attempts],
            [_load(text) for text in lines],
        )


def _load(text: Any) -> object:
    try:
        return loads(text)
    except (ValueError, RecursionError):
        return None
