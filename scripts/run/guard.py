"""Stops the processes of a `./run.sh` that was killed by SIGKILL, which no process can catch.

The guard is a process in its own session, so signals of the terminal do not reach it. It reads the process ids from a
pipe, which is closed when `./run.sh` ends in any way. An empty message before that says that all has been stopped.
"""

import json
import signal
import subprocess
import sys
from contextlib import suppress

from scripts.run.stopping import Pids, runs, stop
from scripts.run.terminal import say


class Guard:
    """The guard as seen from `./run.sh`."""

    def __init__(self) -> None:
        self._pids: Pids = {}
        self._process = self._start()

    def tell(self, pids: Pids) -> None:
        """Tell the guard which processes run. It may be called often, and sends only changes."""
        killed = self._process.poll() is not None
        if killed:
            assert self._process.stdin
            with suppress(BrokenPipeError):  # the guard may not have read everything
                self._process.stdin.close()
            self._process = self._start()
        if killed or pids != self._pids:
            self._pids = dict(pids)
            self._write()

    def dismiss(self) -> None:
        """End the guard, once all processes have been stopped."""
        self._pids = {}
        self._write()
        self._process.communicate()

    @staticmethod
    def _start() -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "scripts.run.guard"]
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, start_new_session=True, text=True, bufsize=1
        )

    def _write(self) -> None:
        assert self._process.stdin
        with suppress(BrokenPipeError):  # the guard was killed: the next call starts another
            self._process.stdin.write(json.dumps(self._pids) + "\n")
            self._process.stdin.flush()


def main() -> None:
    # If a signal is sent to `./run.sh` and all its processes, the guard must outlive the others.
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    pids: Pids = {}
    for line in sys.stdin:
        pids = json.loads(line)
    if pids:
        say("./run.sh was killed, so its processes are stopped.")
        stop(pids, runs, say)


if __name__ == "__main__":
    main()
