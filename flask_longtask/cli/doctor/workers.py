"""Checks of the workers, by their heartbeats: whether they run, which queues they serve, and their clocks."""

import time
from collections.abc import Iterator

from flask import Flask, current_app

from flask_longtask.cli.doctor.finding import Finding, mend, ok, unknown
from flask_longtask.cli.group import celery_app
from flask_longtask.cli.serving import look_at_queues
from flask_longtask.store.presence import Heard
from flask_longtask.versions import VERSION
from flask_longtask.worker_command import worker_command

#: Seconds by which a clock may differ. Reading the clocks takes a moment, too.
CLOCK_TOLERANCE = 5.0


def running(_: Flask) -> Iterator[Finding]:
    heard = _heard()
    names = [worker.name for worker in heard if worker.is_alive]
    if names:
        yield ok(f"{', '.join(names)} {'runs' if len(names) == 1 else 'run'}.")
    elif not celery_app().backend.store.presence.look().complete:
        yield unknown("Redis has just started or was unavailable. Run this again in a few seconds.")
    else:
        yield mend(f"No worker is running. {_how_to_start()}")
    for worker in heard:
        if not worker.is_alive:
            yield mend(
                f"{worker.name} has sent no heartbeat for {worker.silent_for:.0f} seconds. "
                "Unless it was stopped, check whether it hangs or is cut off from Redis."
            )


def versions(_: Flask) -> Iterator[Finding]:
    living = [worker for worker in _heard() if worker.is_alive]
    if not living:
        yield unknown("No worker is running.")
        return
    others = [worker for worker in living if worker.version != VERSION]
    for worker in others:
        version = f"Longtask {worker.version}" if worker.version else "an older Longtask"
        yield mend(
            f"{worker.name} runs {version}, but this command runs {VERSION}. Restart the worker."
        )
    if not others:
        yield ok(f"All workers run Longtask {VERSION}, as this command does.")


def queues(_: Flask) -> Iterator[Finding]:
    stuck = [queue for queue in look_at_queues(celery_app(), _heard()) if queue.is_stuck]
    for queue in stuck:
        what = "message waits" if queue.waiting == 1 else "messages wait"
        yield mend(
            f"{queue.waiting:,} {what} in the queue {queue.name}, which no worker serves. "
            f"Start a worker with -Q {queue.name}, or correct task_routes."
        )
    if not stuck:
        yield ok("No message waits in a queue that no worker serves.")


def messages(_: Flask) -> Iterator[Finding]:
    is_well = True
    for store in celery_app().stores:
        if number := store.messages.count_rejected():
            is_well = False
            what, them = (
                ("1 message was", "it") if number == 1 else (f"{number} messages were", "them")
            )
            yield mend(
                f"{what} put aside because no worker could use {them}: see {store.keys.rejected} in Redis. "
                "Find the sender, then delete this key."
            )
    if is_well:
        yield ok("No message was put aside.")


def clocks(_: Flask) -> Iterator[Finding]:
    before = time.time()
    now = celery_app().backend.store.server().now
    ahead = {"this host": (before + time.time()) / 2 - now}
    for worker in _heard():
        if worker.is_alive and worker.clock_ahead is not None:
            ahead[f"the host of {worker.name}"] = worker.clock_ahead
    wrong = {host: seconds for host, seconds in ahead.items() if abs(seconds) > CLOCK_TOLERANCE}
    for host, seconds in wrong.items():
        side = "ahead of" if seconds > 0 else "behind"
        yield mend(
            f"The clock of {host} is {abs(seconds):,.0f} seconds {side} that of Redis. Bars do not depend on it, "
            "but cookies and logs do. Set it by NTP."
        )
    if not wrong:
        yield ok("All clocks agree with that of Redis.")


def _heard() -> list[Heard]:
    heard: list[Heard] = celery_app().backend.store.workers.heard()
    return heard


def _how_to_start() -> str:
    if command := worker_command(current_app):
        return f"Start one: {command}."
    return (
        'In the app\'s module, set celery = app.extensions["celery"], '
        "then start a worker: celery -A module.celery worker."
    )
