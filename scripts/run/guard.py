"""Stops what `./run.sh` has started when that itself is killed by SIGKILL, of which no process can take notice.

The guard is a process in a session of its own, out of a terminal's reach, that reads from a pipe what runs. The
pipe ends with whoever holds its other end, however that ended. An empty message before says that all is stopped.
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
        """Say what runs. Called often: it costs nothing where that has not changed."""
        killed = self._process.poll() is not None
        if killed:
            assert self._process.stdin
            with suppress(BrokenPipeError):  # of what it had not read
                self._process.stdin.close()
            self._process = self._start()
        if killed or pids != self._pids:
            self._pids = dict(pids)
            self._write()

    def dismiss(self) -> None:
        """Let it go: there is nothing left to stop."""
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
        with suppress(BrokenPipeError):  # killed just now: the next call starts another
            self._process.stdin.write(json.dumps(self._pids) + "\n")
            self._process.stdin.flush()


def main() -> None:
    # Whoever stops `./run.sh` by a signal to every process of it means the guard to end after that, not before.
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
