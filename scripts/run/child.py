"""One process of the Procfile: its log, its number in a file, its end, and when it is started again.

It prints into its log file itself, not into a pipe, so that it can go on printing while the guard stops it. The
file is locked, and the lock ends with the last process that prints into it, whoever was killed before: that
tells the next `./run.sh` what of an earlier one still runs.
"""

import fcntl
import os
import shutil
import signal
import subprocess
import time
from collections import deque
from contextlib import suppress
from pathlib import Path

from scripts.run.lines import Level, Lines
from scripts.run.stopping import end_group

#: Where the logs and the files with the processes' numbers are. Only for the one who runs it: logs name clients.
FOLDER = Path("instance/run")

#: Bytes of a log from which it is moved to `….log.1`, in the place of the one before.
MOST_BYTES = 5_000_000

#: Seconds until a process is started again: the first, and the most; each is twice the one before. One that
#: has run for a minute begins anew.
FIRST_PAUSE, LONGEST_PAUSE, MINUTE = 1, 30, 60

#: It is given up when it has ended so often within a minute.
MOST_ENDS = 5


class Child:
    def __init__(self, name: str, command: str) -> None:
        self.name = name
        self.last_lines: deque[str] = deque(maxlen=15)
        #: When it is to be started, on the clock `time.monotonic`.
        self.due = 0.0
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._ends: deque[float] = deque(maxlen=MOST_ENDS)
        self._pause = FIRST_PAUSE
        self._started = 0.0
        self._lines = Lines()
        self._rest = b""
        FOLDER.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.log = FOLDER / f"{name}.log"
        self._pid_file = FOLDER / f"{name}.pid"
        self._output = os.open(self.log, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        self._reader = self.log.open("rb")

    def lock(self) -> bool:
        """Whether nothing of an earlier run is left of it."""
        try:
            fcntl.flock(self._output, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    @property
    def earlier_pid(self) -> int | None:
        """The number of the process that another run has started."""
        with suppress(FileNotFoundError, ValueError):
            return int(self._pid_file.read_text())
        return None

    def start(self) -> None:
        self._lines = Lines()
        if not self._started:
            self._begin_log()
        self._process = subprocess.Popen(
            f"exec {self._command}",
            shell=True,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
            # Ctrl-C in the terminal is then for ./run.sh alone, which passes it on in the right order.
            start_new_session=True,
        )
        self._started = time.monotonic()
        self._pid_file.write_text(f"{self._process.pid}\n")

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def new_end(self) -> int | None:
        """The exit code, or minus the number of the signal that killed it, once after each end."""
        if self._process is None or (code := self._process.poll()) is None:
            return None
        end_group(self._process.pid)
        self._process = None
        self._pid_file.unlink(missing_ok=True)
        now = time.monotonic()
        self._ends.append(now)
        if now - self._started >= MINUTE:
            self._pause = FIRST_PAUSE
        return code

    @property
    def ends_too_often(self) -> bool:
        return len(self._ends) == MOST_ENDS and time.monotonic() - self._ends[0] < MINUTE

    def start_later(self) -> int:
        """The seconds until it is started again."""
        pause = self._pause
        self.due = time.monotonic() + pause
        self._pause = min(2 * pause, LONGEST_PAUSE)
        return pause

    def printed(self) -> list[tuple[str, Level]]:
        """The lines since the last time."""
        *lines, self._rest = (self._rest + self._reader.read()).split(b"\n")
        if self._process is None and self._rest:  # it has ended within a line
            lines.append(self._rest)
            self._rest = b""
        if self._reader.tell() > MOST_BYTES:
            self._begin_log()
        texts = [line.decode(errors="replace").rstrip("\r") for line in lines]
        self.last_lines.extend(texts)
        return [(text, self._lines.level(text)) for text in texts]

    def close(self) -> None:
        """Once it has been stopped, or if it is not needed."""
        if self._process:
            self._pid_file.unlink(missing_ok=True)
        self._reader.close()
        os.close(self._output)

    def _begin_log(self) -> None:
        if self.log.stat().st_size:
            shutil.copy(self.log, f"{self.log}.1")
            os.truncate(self._output, 0)
        self._reader.seek(0)


def how(code: int) -> str:
    """How a process has ended, by its exit code or minus the number of a signal."""
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
