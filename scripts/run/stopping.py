"""Stops the processes in the right order. `./run.sh` does so on Ctrl-C, and its guard if `./run.sh` was killed.

Other programs for Procfiles send a signal to every process group at once. This interrupts running tasks, because the
signal reaches the worker's child processes, and it stops Redis while a worker still has results to write. Here only
the main process of each group gets the signal, and Redis is stopped last.
"""

import os
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

#: The signals to stop a process, each with the seconds until the next. On SIGTERM the worker hands its tasks back and
#: gunicorn finishes its requests; on SIGQUIT both stop at once. Another Ctrl-C skips the wait.
REQUESTS = [(signal.SIGTERM, 20), (signal.SIGQUIT, 10), (signal.SIGKILL, 10)]

#: The names of the processes with their process ids, which are also the ids of their groups; None if not running.
Pids = Mapping[str, int | None]


def runs(pid: int) -> bool:
    """Whether this process of the current user has not ended yet."""
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    with suppress(OSError):  # only Linux has such a file
        # A zombie, such as in a container without an init process, has ended.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    return True


def stop(
    pids: Pids,
    runs: Callable[[int], bool],
    say: Callable[[str], None],
    moves_on: Callable[[], int] = lambda: 0,
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    """Stop all processes, Redis last.

    Parameters:
        pids: the processes by their names.
        runs: whether the main process of a group still runs.
        say: prints a line.
        moves_on: returns a number, which grows when the user does not want to wait any longer.
        meanwhile: called regularly during the wait.
    """
    heads = {name: pid for name, pid in pids.items() if pid is not None}
    redis = {name: heads.pop(name) for name in ["redis"] if name in heads}
    without_redis = "redis" in pids and not any(map(runs, redis.values()))
    # Without Redis, Celery would wait for minutes before it stops, and could not save any result. So skip SIGTERM.
    requests = REQUESTS[1:] if without_redis else REQUESTS
    if not without_redis and any(runs(heads[n]) for n in ("worker", "mailworker") if n in heads):
        say("Stopping. Running tasks go back to the queue; the next worker starts them again.")
    for group, asked in ((heads, requests), (redis, REQUESTS)):
        _stop(list(group.values()), asked, runs, moves_on, meanwhile)


def _stop(
    pids: list[int],
    requests: list[tuple[signal.Signals, int]],
    runs: Callable[[int], bool],
    moves_on: Callable[[], int],
    meanwhile: Callable[[], None],
) -> None:
    for signum, seconds in requests:
        for pid in filter(runs, pids):
            with suppress(ProcessLookupError):
                os.kill(pid, signum)
        heard = moves_on()
        deadline = time.monotonic() + seconds
        while any(map(runs, pids)) and moves_on() == heard and time.monotonic() < deadline:
            meanwhile()
            time.sleep(0.1)
    for pid in pids:
        end_group(pid)


def end_group(pid: int) -> None:
    """Kill the rest of a group whose main process has ended, such as the child processes of a worker."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
