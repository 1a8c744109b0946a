"""How processes are stopped, and in which order. `./run.sh` does it on Ctrl-C, its guard when that was killed.

Other programs that read a Procfile stop all of it at once by a signal to each process group. That breaks off
the tasks that are running, since it reaches the worker's child processes, and takes Redis away from a worker
that still has results to write. Here only the head of each group is asked to stop, and Redis is asked last.
"""

import os
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

#: How to ask a process to stop, and the seconds it is then given. On SIGTERM the worker hands its tasks back
#: and gunicorn finishes its requests; on SIGQUIT both break off. Ctrl-C again moves on to the next.
REQUESTS = [(signal.SIGTERM, 20), (signal.SIGQUIT, 10), (signal.SIGKILL, 10)]

#: The names of processes and, of those that run, their numbers, which are also those of their groups.
Pids = Mapping[str, int | None]


def runs(pid: int) -> bool:
    """Whether such a process of ours has not ended yet."""
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    with suppress(OSError):  # only Linux has such a file
        # One that has ended and that nobody has waited for, as in a container without an init, is still there.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    return True


def stop(
    pids: Pids,
    runs: Callable[[int], bool],
    say: Callable[[str], None],
    moves_on: Callable[[], int] = lambda: 0,
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    """Stop them all, Redis last.

    `runs` tells whether the head of a group still runs; `moves_on` is a number that grows when somebody does
    not want to wait any longer; `meanwhile` is called while it waits.
    """
    heads = {name: pid for name, pid in pids.items() if pid is not None}
    redis = {name: heads.pop(name) for name in ["redis"] if name in heads}
    without_redis = "redis" in pids and not any(map(runs, redis.values()))
    # Celery waits for a lost Redis for minutes before it stops, and could not save a task's result.
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
    """End what is left of a group whose head was killed: pool processes of a worker, for one."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
