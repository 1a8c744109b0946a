"""The tasks that the fault tests run. Each notes in Redis, under `runs:<its id>`, that it was started."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from celery import Task, shared_task
from celery.signals import task_prerun

#: Seconds after which a task goes on although it was not released, because its test has failed.
FORGOTTEN = 300.0


def note(task: Task) -> int:
    """The number of this run."""
    return task.backend.client.rpush(f"runs:{task.request.id}", os.getpid())


def until_released(task: Task, run: int) -> Iterator[int]:
    """Count five times a second until the test has released the task, or this run of it.

    By files, which are there while Redis is not.
    """
    folder = Path(os.environ["RELEASES"])
    files = [folder / task.request.id, folder / f"{task.request.id}-{run}"]
    for step in range(round(FORGOTTEN * 5)):
        if any(file.exists() for file in files):
            return
        yield step
        time.sleep(0.2)


@shared_task(bind=True)
def working(self, seconds):
    """Report five times a second, and return the longest time, in seconds, for which a report held up the task."""
    note(self)
    steps = max(1, round(seconds * 5))
    longest = 0.0
    for step in range(steps):
        since = time.monotonic()
        meta = {"current": step, "total": steps, "status": f"Step {step}"}
        self.update_state(state="PROGRESS", meta=meta)
        longest = max(longest, time.monotonic() - since)
        time.sleep(0.2)
    return longest


@shared_task(bind=True)
def going_on(self):
    """Count to 1,000, a thousandth every 0.1 seconds, and go on from there in the next attempt."""
    run = note(self)
    for step in range(self.last_checkpoint or 0, 1000):
        self.backend.client.rpush(f"steps:{self.request.id}", f"{run}:{step}")
        meta = {"current": step, "total": 1000, "status": f"Step {step}", "run": run}
        self.update_state(state="PROGRESS", meta=meta)
        time.sleep(0.1)
        self.checkpoint(step + 1)
    return "done"


@shared_task(bind=True)
def silent(self, seconds):
    """Report nothing."""
    note(self)
    time.sleep(seconds)
    return "done"


@shared_task(bind=True)
def working_until_released(self):
    """Report five times a second until the test releases the task."""
    for step in until_released(self, note(self)):
        meta = {"current": step, "total": 1000, "status": f"Step {step}"}
        self.update_state(state="PROGRESS", meta=meta)
    return "done"


@shared_task(bind=True, stall_seconds=2)
def stalling(self):
    """Report once, and then nothing more."""
    run = note(self)
    self.update_state(meta={"current": 3, "total": 10, "status": f"Run {run}"})
    for _ in until_released(self, run):
        pass
    return "done"


@shared_task(bind=True, stall_seconds=2)
def stalling_once(self):
    """Report and keep something, and go on in the next attempt only."""
    note(self)
    if not self.last_checkpoint:
        self.update_state(meta={"current": 3, "total": 10, "status": "Row 3"})
        self.checkpoint(3)
        time.sleep(FORGOTTEN)
    return self.last_checkpoint


@shared_task(bind=True, stall_seconds=2, acks_late=False)
def stalling_with_its_message_gone(self):
    """The same for a task whose message is acknowledged when it starts."""
    note(self)
    time.sleep(FORGOTTEN)


@shared_task(bind=True, stall_seconds=2)
def slow_but_not_stalled(self, way):
    """Say something every second in one of the ways, for longer than the task may be silent."""
    note(self)
    for step in self.track(range(6)) if way == "track" else range(6):
        if way == "report":
            self.update_state(meta={"current": step, "total": 6, "status": "Slow"})
        elif way == "checkpoint":
            self.checkpoint(step)
        elif way == "log":
            self.log(f"Step {step}")
        time.sleep(1)
    return "done"


@shared_task(bind=True, stall_seconds=2)
def reporting_until_released(self):
    for step in until_released(self, note(self)):
        self.update_state(meta={"current": step, "total": 10_000, "status": "Busy"})
    return "done"


@shared_task(bind=True)
def silent_until_released(self):
    """Report nothing until the test releases the task."""
    run = note(self)
    for _ in until_released(self, run):
        pass
    self.backend.client.rpush(f"released:{self.request.id}", run)
    return "done"


@shared_task(bind=True)
def slow_to_begin(self):
    """Take longer to begin than the interval of a worker's watch, and go on until released."""
    for _ in until_released(self, note(self)):
        pass
    return "done"


@task_prerun.connect
def dawdle(task, **_):
    if task.name == slow_to_begin.name:
        time.sleep(2.5)


@shared_task(bind=True)
def quick(self):
    return "done"


@shared_task(bind=True, ignore_result=True)
def with_its_result_ignored(self):
    note(self)
    return "done"


@shared_task
def failing():
    raise ValueError("row 4 has no name")


@shared_task(bind=True, restartable=True)
def failing_at_first(self, name):
    """Fail, but not when it is started again."""
    client = self.backend.client
    if client.incr(f"failures:{name}") == 1:
        raise ValueError(f"{name} has no name")
    return name


@shared_task(bind=True)
def killing_its_child(self):
    """Kill the pool process that runs the task, as a crash or the kernel's out-of-memory killer does."""
    note(self)
    os.kill(os.getpid(), signal.SIGKILL)


@shared_task(bind=True)
def killing_its_worker(self):
    """Kill the whole worker."""
    note(self)
    os.killpg(os.getpgid(0), signal.SIGKILL)


@shared_task(bind=True)
def stubborn(self, seconds):
    """Go on in spite of exceptions and of all signals that can be blocked. Its process is noted in `stubborn`."""
    note(self)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT})
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            self.update_state(state="PROGRESS", meta={"current": 0, "total": 1, "status": "No"})
            time.sleep(0.1)
        except BaseException:  # the task ignores every exception
            continue


@shared_task(bind=True)
def stopped(self):
    """Stand still, like a process that was stopped."""
    note(self)
    os.kill(os.getpid(), signal.SIGSTOP)


@shared_task(bind=True)
def exiting(self, code):
    note(self)
    sys.exit(code)


@shared_task(bind=True)
def out_of_memory(self):
    note(self)
    raise MemoryError


@shared_task(bind=True)
def interrupted(self):
    note(self)
    raise KeyboardInterrupt


@shared_task(bind=True)
def dying_before_it_counts(self):
    """Kill the worker after the end was stored, and before the task is counted in its chord."""
    note(self)
    self.backend.on_chord_part_return = lambda *_, **__: os.killpg(os.getpgid(0), signal.SIGKILL)
    return "done"


@shared_task(bind=True)
def whose_process_dies_before_it_counts(self):
    """Do the same with the pool process only."""
    note(self)
    self.backend.on_chord_part_return = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
    return "done"


@shared_task(bind=True)
def gathering(self, results):
    note(self)
    return results


@shared_task(bind=True)
def logging_until_released(self):
    """Log that it has started, and that it was released."""
    run = note(self)
    self.log(f"run {run}")
    for _ in until_released(self, run):
        pass
    self.log("released")
    return "done"
