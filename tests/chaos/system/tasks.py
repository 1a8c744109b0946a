"""Tasks of every kind for the chaos run. Each notes that an attempt has started, and its effect at the end."""

import signal
import sys
import time

from celery import Task, shared_task

from tests.chaos.system.notebook import note

#: Seconds between two reports.
STEP = 0.2

#: Seconds after which a stubborn task ends though nobody could end it.
STUBBORN = 600


def _steps(seconds: float) -> int:
    return max(1, round(seconds / STEP))


@shared_task(bind=True)
def reporting(self: Task, key: str, seconds: float) -> str:
    note(self, "start", key)
    total = _steps(seconds)
    for step in range(total):
        meta = {"current": step, "total": total, "status": f"Step {step}"}
        self.update_state(state="PROGRESS", meta=meta)
        time.sleep(STEP)
    note(self, "effect", key)
    return "done"


@shared_task(bind=True)
def tracking(self: Task, key: str, seconds: float) -> str:
    note(self, "start", key)
    for _ in self.track(range(10 * _steps(seconds)), "Counting"):
        time.sleep(STEP / 10)
    note(self, "effect", key)
    return "done"


@shared_task(bind=True)
def silent(self: Task, key: str, seconds: float) -> str:
    note(self, "start", key)
    time.sleep(seconds)
    note(self, "effect", key)
    return "done"


@shared_task(bind=True)
def failing(self: Task, key: str, seconds: float) -> None:
    note(self, "start", key)
    self.update_state(state="PROGRESS", meta={"current": 3, "total": 7, "status": "Row 3"})
    time.sleep(seconds / 2)
    raise ValueError("row 4 has no name")


@shared_task(bind=True, max_retries=4)
def retrying(self: Task, key: str, seconds: float) -> str:
    """Fail for the time being, twice."""
    note(self, "start", key)
    self.update_state(state="PROGRESS", meta={"current": 3, "total": 7, "status": "Row 3"})
    time.sleep(seconds / 4)
    if self.request.retries < 2:
        raise self.retry(exc=ConnectionError("mail.example is away"), countdown=seconds / 2)
    note(self, "effect", key)
    return "sent"


@shared_task(bind=True, ignore_result=True)
def ignoring(self: Task, key: str, seconds: float) -> None:
    note(self, "start", key)
    time.sleep(seconds / 2)
    note(self, "effect", key)


@shared_task(bind=True)
def gathering(self: Task, results: list[str], key: str) -> str:
    """What follows a group in a chord."""
    note(self, "start", key)
    note(self, "effect", key)
    return f"{len(results)} done"


@shared_task(bind=True)
def stubborn(self: Task, key: str, seconds: float) -> None:
    """Swallow every exception; every other one blocks SIGTERM as well."""
    note(self, "start", key)
    if seconds > 1:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    until = time.monotonic() + STUBBORN
    while time.monotonic() < until:
        try:
            self.update_state(state="PROGRESS", meta={"status": "I stay"})
            time.sleep(STEP)
        except BaseException:
            continue  # that is the point of it
    note(self, "effect", key)


@shared_task(bind=True)
def exiting(self: Task, key: str, seconds: float) -> None:
    note(self, "start", key)
    time.sleep(seconds / 4)
    sys.exit(3)


@shared_task(bind=True)
def interrupted(self: Task, key: str, seconds: float) -> None:
    note(self, "start", key)
    time.sleep(seconds / 4)
    raise KeyboardInterrupt
