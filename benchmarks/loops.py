"""Measurements without HTTP, each in its own process: `python -m benchmarks.loops start-ours 1000`.

Prints the seconds of one turn of the loop.
"""

import os
import sys
import time
import uuid
from pathlib import Path

META = {"current": 3, "total": 7, "status": "Sorting the loose pages"}


def _ours():
    from app import long_task  # noqa: PLC0415  # makes its Celery app the current one

    return long_task


def _others():
    from benchmarks.others import long_task  # noqa: PLC0415

    return long_task


def start(task, count):
    """`apply_async` in a loop."""
    for _ in range(10):
        task.apply_async()
    begin = time.perf_counter()
    for _ in range(count):
        task.apply_async()
    return (time.perf_counter() - begin) / count


def update(task, count):
    """`update_state` in a loop."""
    task_id = str(uuid.uuid4())
    begin = time.perf_counter()
    for _ in range(count):
        task.update_state(task_id=task_id, state="PROGRESS", meta=META)
    return (time.perf_counter() - begin) / count


def loop(rows):
    """An empty loop."""
    begin = time.perf_counter()
    for _ in rows:
        pass
    return time.perf_counter() - begin


def track(count):
    """The same with `track`, reporting to Redis ten times a second."""
    task = _ours()
    task.push_request(id=str(uuid.uuid4()), task=task.name, hostname="benchmarks")
    task.before_start(task.request.id, (), {})
    seconds = loop(task.track(range(count), "Counting"))
    task.request.tracker.stop(report=False)
    return seconds / count


def tqdm(count):
    """The same with tqdm, which draws its bar to /dev/null."""
    from tqdm import tqdm  # noqa: PLC0415  # not needed by the other loops

    with Path(os.devnull).open("w") as nowhere:
        return loop(tqdm(range(count), file=nowhere)) / count


LOOPS = {
    "start-ours": lambda count: start(_ours(), count),
    "start-others": lambda count: start(_others(), count),
    "update-ours": lambda count: update(_ours(), count),
    "update-others": lambda count: update(_others(), count),
    "loop": lambda count: loop(range(count)) / count,
    "track": track,
    "tqdm": tqdm,
}

if __name__ == "__main__":
    print(LOOPS[sys.argv[1]](int(sys.argv[2])))
