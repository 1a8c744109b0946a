"""Measurements without HTTP, each in its own process: `python -m benchmarks.programs.loops start-ours 1000`.

Prints the seconds of one turn of the loop.
"""

import logging
import os
import sys
import tempfile
import time
import uuid
from pathlib import Path

from celery import current_app, group, shared_task

#: How many parts the family has of which one reports.
PARTS = 100


def _ours():
    from app import long_task  # noqa: PLC0415  # makes its Celery app the current one

    return long_task


def start(send, count):
    """Sends a task again and again."""
    for _ in range(10):
        send()
    begin = time.perf_counter()
    for _ in range(count):
        send()
    return (time.perf_counter() - begin) / count


def start_ours(count):
    return start(_ours().delay, count)


def start_celery(count):
    from benchmarks.programs import others  # noqa: PLC0415

    return start(others.long_task.delay, count)


def start_rq(count):
    from benchmarks.programs import others  # noqa: PLC0415

    return start(lambda: others.queue.enqueue(others.work), count)


def start_dramatiq(count):
    from benchmarks.programs import others  # noqa: PLC0415

    return start(others.actor.send, count)


def update(task, count):
    """`update_state` in a loop, further each time."""
    begin = time.perf_counter()
    for number in range(count):
        meta = {"current": number, "total": count, "status": "Sorting the loose pages"}
        task.update_state(state="PROGRESS", meta=meta)
    return (time.perf_counter() - begin) / count


def update_celery(count):
    from benchmarks.programs import others  # noqa: PLC0415

    others.long_task.push_request(id=str(uuid.uuid4()), task=others.long_task.name)
    return update(others.long_task, count)


def running(task, task_id):
    """Let this process be the worker that runs a task with this id."""
    task.push_request(id=task_id, task=task.name, hostname="benchmarks", called_directly=False)
    task.before_start(task_id, (), {})
    return task


def update_ours(count):
    return update(running(_ours(), str(uuid.uuid4())), count)


def update_part(count):
    """The same for one part of a family."""
    task = _ours()
    family = group(task.s(1, 0) for _ in range(PARTS)).apply_async()
    return update(running(task, family.results[0].id), count)


def loop(rows):
    """An empty loop."""
    begin = time.perf_counter()
    for _ in rows:
        pass
    return time.perf_counter() - begin


def track(count):
    """The same with `track`, reporting to Redis ten times a second."""
    task = running(_ours(), str(uuid.uuid4()))
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

    return running(current_app.tasks[logging_lines.name], str(uuid.uuid4()))() / count


LOOPS = {
    "start-ours": start_ours,
    "start-celery": start_celery,
    "start-rq": start_rq,
    "start-dramatiq": start_dramatiq,
    "update-ours": update_ours,
    "update-part": update_part,
    "update-celery": update_celery,
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
