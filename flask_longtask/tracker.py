"""Reports the progress of a running loop from another thread. Knows neither Celery nor Redis."""

import logging
import threading
from collections.abc import Callable
from typing import Any

logger = logging.getLogger(__name__)

#: Seconds between two looks at the loop: the shortest time between two reports, and the longest delay of one.
INTERVAL = 0.1

#: Reports `current`, `total` and `message`. Returns the reason why the task must stop, or None.
Report = Callable[[int, float | None, str], Any]


class Loop:
    """The position of a loop, which only sets `current`, so that millions of iterations stay cheap."""

    __slots__ = ("current", "ended", "message", "total")

    def __init__(self, total: float | None, message: str) -> None:
        self.current = 0
        self.total = total
        self.message = message
        self.ended = False


class Tracker:
    """Watches the loops of one task.

    Calls `report` with the position of the innermost loop when it has changed, and keeps the returned value in
    `refused`. Unless that is None, the loop stops.
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
        """Note that a loop begins, perhaps inside another."""
        self._loops = [*self._running(), loop]

    def leave(self, loop: Loop) -> None:
        """Note that a loop has ended. The last position of the outermost loop stays the task's."""
        loop.ended = True
        self._loops = self._running() or [loop]

    def _running(self) -> list[Loop]:
        return [loop for loop in self._loops if not loop.ended]

    def stop(self, report: bool) -> None:
        """End the thread. With `report`, report the last position, at which the task stopped."""
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
        except Exception:  # a failed report must not end the task
            logger.warning("A task's progress could not be reported", exc_info=True)
