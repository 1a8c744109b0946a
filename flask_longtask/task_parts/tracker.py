"""Reports the progress of a running task's loops and its log lines from another thread. Knows neither Celery nor Redis.

Both only set or append something in this process, so that millions of iterations and of lines stay cheap.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

from flask_longtask.status.history import LONGEST_LEVEL, LONGEST_LINE

logger = logging.getLogger(__name__)

#: Seconds between two looks: the shortest time between two reports, and the longest delay of one.
INTERVAL = 0.1

#: Shown in place of control characters, which could do harm in a terminal: U+2400 and the following picture them.
_PICTURES = {
    **{code: 0x2400 + code for code in range(0x20) if code != ord("\t")},
    0x7F: 0x2421,
    **dict.fromkeys(range(0x80, 0xA0), 0xFFFD),
}

#: A time by this process's monotonic clock, the level, and the text.
Line = tuple[float, str, str]

#: Reports `current`, `total` and `message`. Returns the reason why the task must stop, or None.
Report = Callable[[int, float | None, str], Any]

#: Writes lines; the first argument is how many lines came before them. Returns whether they were written.
Write = Callable[[int, Sequence[Line]], bool]


class Loop:
    """The position of a loop, which only sets `current`."""

    __slots__ = ("current", "ended", "message", "total")

    def __init__(self, total: float | None, message: str) -> None:
        self.current = 0
        self.total = total
        self.message = message
        self.ended = False


class Lines:
    """The log lines of one run of a task, until they are written. Of more than `most`, only the last ones are.

    Calls `begin` for a new line, unless `is_watched` says that the lines are written anyway.
    """

    def __init__(self, write: Write, most: int, begin: Callable[[], None]) -> None:
        self.is_watched = False
        self._begin = begin
        self._write = write
        self._new: deque[tuple[int, float, str, str]] = deque(maxlen=most)
        self._numbers = count(1)
        self._lock = threading.Lock()  # guards the attributes below
        #: Lines that are being written, or could not be written yet.
        self._pending: deque[Line] = deque(maxlen=most)
        #: How many lines were logged up to the last of them.
        self._taken = 0
        self._is_away = False

    def add(self, text: object, level: str) -> None:
        """Take a text, each line of it as one. Any thread may call this."""
        line = text if type(text) is str else str(text)
        if type(level) is not str:  # such as logging.WARNING
            level = logging.getLevelName(level) if isinstance(level, int) else str(level)
        if "\n" in line:
            for part in line.splitlines():
                self._new.append((next(self._numbers), time.monotonic(), level, part))
        else:
            if len(line) > LONGEST_LINE:  # not the whole text is to be kept in memory
                line = line[:LONGEST_LINE]
            self._new.append((next(self._numbers), time.monotonic(), level, line))
        if not self.is_watched:
            self._begin()

    def write(self) -> None:
        """Write the new lines, and those that could not be written before."""
        with self._lock:
            for _ in range(len(self._new)):
                number, at, level, text = self._new.popleft()
                self._taken = max(self._taken + 1, number)
                self._pending.append((at, _plain(level)[:LONGEST_LEVEL].lower(), _plain(text)))
            if not self._pending:
                return
            try:
                if self._write(self._taken - len(self._pending), tuple(self._pending)):
                    self._pending.clear()
                self._is_away = False
            except Exception as error:  # the task goes on, and the next look tries again
                if not self._is_away:
                    logger.warning("A task's lines could not be stored: %s", error)
                self._is_away = True


def _plain(text: str) -> str:
    return text[:LONGEST_LINE] if text.isprintable() else text[:LONGEST_LINE].translate(_PICTURES)


class Tracker:
    """Watches the loops of one run of a task, and takes its log lines. A thread does so from the first of them on.

    Calls `report` with the position of the innermost loop when it has changed, and keeps the returned value in
    `refused`. Unless that is None, the loop stops. Calls `write` with new lines, `most_lines` at most.
    """

    def __init__(self, report: Report, write: Write, most_lines: int) -> None:
        self._loops: list[Loop] = []
        self.refused: Any = None
        self._report = report
        self._reported: tuple[int, float | None, str] | None = None
        self._lines = Lines(write, most_lines, self._start)
        #: Takes a log line: its text and its level. Any thread may call this.
        self.log = self._lines.add
        #: Writes the lines that have not been written yet, at once.
        self.write_lines = self._lines.write
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def enter(self, loop: Loop) -> None:
        """Note that a loop begins, perhaps inside another."""
        self._loops = [*self._running(), loop]
        self._start()

    def leave(self, loop: Loop) -> None:
        """Note that a loop has ended. The last position of the outermost loop stays the task's."""
        loop.ended = True
        self._loops = self._running() or [loop]

    def _running(self) -> list[Loop]:
        return [loop for loop in self._loops if not loop.ended]

    def stop(self, report: bool) -> None:
        """End the thread, and write the last lines. With `report`, report the position at which the task stopped."""
        self.end()
        if self._thread is not None:
            self._thread.join()
        if report:
            self._report_position()
        self._lines.write()

    def end(self) -> None:
        """Let the thread end by itself. From now on, each line is written at once."""
        self._stopping.set()
        self._lines.is_watched = False

    def _start(self) -> None:
        if self._stopping.is_set():  # the run has ended, and Celery calls the handlers of its end
            self._lines.write()
            return
        if self._thread is not None:
            return
        self._lines.is_watched = True
        self._thread = threading.Thread(target=self._run, name="longtask-tracker", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping.wait(INTERVAL):
            self._look()

    def _look(self) -> None:
        self._report_position()
        self._lines.write()

    def _report_position(self) -> None:
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
