"""Measurements without HTTP, each in its own process: `python -m benchmarks.loops start-ours 1000`.

Prints the seconds of one turn of the loop.
"""

import logging
import os
import sys
import tempfile
import time
import uuid
from pathlib import Path

from celery import current_app, shared_task

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


LINE = "Sorting the loose pages of the third folder"


def write(count, buffering=-1):
    """Lines written to a file, which is flushed after each with `buffering=1`."""
    with tempfile.TemporaryFile("w", buffering=buffering) as file:
        begin = time.perf_counter()
        for _ in range(count):
            file.write(LINE + "\n")
        file.flush()
        return (time.perf_counter() - begin) / count


def handle(count):
    """Lines logged to a file with the time and the level, as Python's `logging` does it."""
    with tempfile.NamedTemporaryFile() as file:
        handler = logging.FileHandler(file.name)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger = logging.Logger("benchmarks")
        logger.addHandler(handler)
        begin = time.perf_counter()
        for _ in range(count):
            logger.info(LINE)
        seconds = time.perf_counter() - begin
        handler.close()
    return seconds / count


def log(count):
    """Lines logged with `self.log`, which another thread sends to Redis ten times a second."""
    _ours()

    @shared_task(bind=True)
    def logging_lines(self):
        begin = time.perf_counter()
        for _ in range(count):
            self.log(LINE)
        return time.perf_counter() - begin

    task = current_app.tasks[logging_lines.name]
    task.push_request(
        id=str(uuid.uuid4()), task=task.name, hostname="benchmarks", called_directly=False
    )
    task.before_start(task.request.id, (), {})
    return task() / count


LOOPS = {
    "start-ours": lambda count: start(_ours(), count),
    "start-others": lambda count: start(_others(), count),
    "update-ours": lambda count: update(_ours(), count),
    "update-others": lambda count: update(_others(), count),
    "loop": lambda count: loop(range(count)) / count,
    "track": track,
    "tqdm": tqdm,
    "write": write,
    "write and flush": lambda count: write(count, buffering=1),
    "FileHandler": handle,
    "log": log,
}

if __name__ == "__main__":
    print(LOOPS[sys.argv[1]](int(sys.argv[2])))
