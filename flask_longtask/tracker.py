"""Looks at a running loop from another thread and reports how far it is. Knows neither Celery nor Redis."""

import logging
import threading
from collections.abc import Callable
from typing import Any

logger = logging.getLogger(__name__)

#: Seconds between two looks: a report is never more frequent, and never later after a change.
INTERVAL = 0.1

#: Returns what keeps the task from going on, or None.
Report = Callable[[int, float | None, str], Any]


class Loop:
    """Where a loop is. It sets `current` and does nothing else, so that it may turn millions of times."""

    __slots__ = ("current", "ended", "message", "total")

    def __init__(self, total: float | None, message: str) -> None:
        self.current = 0
        self.total = total
        self.message = message
        self.ended = False


class Tracker:
    """One task's loops, seen from outside.

    `report` is called with the innermost loop's position when that has changed. What it returns is kept in `refused`,
    by which a loop stops.
    """

    def __init__(self, report: Report) -> None:
        self._loops: list[Loop] = []
        self.refused: Any = None
        self._report = report
        self._reported: tuple[int, float | None, str] | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="longtask-tracker", daemon=True)
        self._thread.start()

    def enter(self, loop: Loop) -> None:
        """A loop begins, in the middle of another perhaps."""
        self._loops = [*self._running(), loop]

    def leave(self, loop: Loop) -> None:
        """A loop has ended. Where there is none around it, its last position stays the task's."""
        loop.ended = True
        self._loops = self._running() or [loop]

    def _running(self) -> list[Loop]:
        return [loop for loop in self._loops if not loop.ended]

    def stop(self, report: bool) -> None:
        """End the thread; with `report`, tell the very last position: it is where the task stopped."""
        self._stopping.set()
        self._thread.join()
        if report:
            self._look()

    def _run(self) -> None:
        while not self._stopping.wait(INTERVAL):
            self._look()

    def _look(self) -> None:
        if not self._loops:
            return
        loop = self._loops[-1]
        position = (loop.current, loop.total, loop.message)
        if position == self._reported:
            return
        try:
            self.refused = self._report(*position)
            self._reported = position
        except Exception:  # a report that fails must not end the task it is about
            logger.warning("A task's progress could not be reported", exc_info=True)
