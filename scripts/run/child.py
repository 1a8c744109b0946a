"""One process of the Procfile: its log, the file with its process id, its end, and its restarts.

The process writes directly to its log file, not to a pipe, so that it can go on writing while the guard stops it. The
log is locked until the last process that writes to it has ended, even if `./run.sh` was killed. So the next `./run.sh`
knows which processes of an earlier one still run.
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

#: The folder of the logs and of the files with process ids. Only the user who runs it may read it: logs name clients.
FOLDER = Path("instance/run")

#: Size in bytes at which a log is moved to `….log.1`, which it replaces.
MOST_BYTES = 5_000_000

#: The first and the longest pause in seconds before a process is started again. Each pause is twice as long as the one
#: before. A process that has run for MINUTE seconds starts with the first pause again.
FIRST_PAUSE, LONGEST_PAUSE, MINUTE = 1, 30, 60

#: A process that has ended this often within a minute is not started again.
MOST_ENDS = 5


class Child:
    def __init__(self, name: str, command: str) -> None:
        self.name = name
        self.last_lines: deque[str] = deque(maxlen=15)
        #: The time of the next start, by `time.monotonic`.
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
        """Lock the log. Returns False if processes of an earlier run still hold the lock."""
        try:
            fcntl.flock(self._output, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    @property
    def earlier_pid(self) -> int | None:
        """The process id in an earlier run, if known."""
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
            # Ctrl-C in the terminal then reaches only ./run.sh, which stops the processes in the right order.
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
        """Return the exit code, or minus the number of the signal that killed the process, once after each end."""
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
        """Schedule the next start. Returns the seconds until then."""
        pause = self._pause
        self.due = time.monotonic() + pause
        self._pause = min(2 * pause, LONGEST_PAUSE)
        return pause

    def printed(self) -> list[tuple[str, Level]]:
        """Return the lines that were written since the last call."""
        *lines, self._rest = (self._rest + self._reader.read()).split(b"\n")
        if self._process is None and self._rest:  # the last line has no end
            lines.append(self._rest)
            self._rest = b""
        if self._reader.tell() > MOST_BYTES:
            self._begin_log()
        texts = [line.decode(errors="replace").rstrip("\r") for line in lines]
        self.last_lines.extend(texts)
        return [(text, self._lines.level(text)) for text in texts]

    def close(self) -> None:
        """Close the log. Call it once the process has been stopped, or if it is not needed."""
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
    """Say how a process has ended. `code` is its exit code, or minus the number of the signal that killed it."""
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
