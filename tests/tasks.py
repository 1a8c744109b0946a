"""Tasks that the tests run in the worker, besides the app's own: one for each thing that a task may do.

A task notes what a test could not see otherwise in Redis, under `tests:<its id>`.
"""

import gc
import json
import logging as logging_module
import threading
import time
from decimal import Decimal

from celery import Task, chain, shared_task
from celery.exceptions import Ignore, Reject
from celery.utils.log import get_task_logger
from redis import Redis

from flask_longtask import TaskCancelled


def evidence(redis: Redis, task_id: str) -> list[str]:
    """Return the notes of a task, in order."""
    return [line.decode() for line in redis.lrange(f"tests:{task_id}", 0, -1)]


def note(task: Task, line: str) -> None:
    task.backend.client.rpush(f"tests:{task.request.id}", line)


def release(redis: Redis, task_id: str) -> None:
    """Let a task that waits in `wait_for_release` go on."""
    redis.lpush(f"tests:release:{task_id}", "go")


def wait_for_release(task: Task) -> None:
    task.backend.client.blpop(f"tests:release:{task.request.id}", timeout=30)


@shared_task(name="tests.tasks.SynchroniseCustomerInvoicesWithAccounting")
def of_a_long_name() -> None:
    """Its name is one word that is wider than the screen of a phone."""


@shared_task(bind=True)
def noting(self):
    note(self, "ran")
    return "ran"


@shared_task(bind=True)
def reporting(self, meta, state="PROGRESS"):
    """Report `meta`, and wait until the test lets the task go on."""
    self.update_state(state=state, meta=meta)
    wait_for_release(self)
    return "done"


@shared_task(bind=True, max_retries=1)
def reporting_more_and_ending(self, end):
    """Report more than the progress, and end in this way when the test lets the task go on."""
    more = {"rows": [1, [], {"a": None}], "file": "Ä\ud83d.csv", "share": float("nan")}
    self.update_state(meta={"current": 1, "total": 2, **more})
    wait_for_release(self)
    if end == "retry":
        raise self.retry(countdown=600)
    if end == "raise":
        raise ValueError("no such row")


@shared_task(bind=True)
def reporting_one_after_the_other(self, reports):
    """Wait after each report until the test lets the task go on."""
    for meta in reports:
        self.update_state(meta=meta)
        wait_for_release(self)


@shared_task(bind=True)
def stepping(self, steps, pause):
    """Report progress every `pause` seconds."""
    note(self, "started")
    try:
        for step in range(steps):
            self.update_state(
                state="PROGRESS", meta={"current": step, "total": steps, "status": f"Step {step}"}
            )
            time.sleep(pause)
    except TaskCancelled:  # one that is terminated instead does not come here
        note(self, "stopped by itself")
        raise
    note(self, "went on to the end")


@shared_task(bind=True)
def silent(self):
    """Report nothing for a long time."""
    note(self, "started")
    time.sleep(300)
    note(self, "went on to the end")


@shared_task(bind=True)
def reporting_once_then_silent(self):
    self.update_state(
        state="PROGRESS", meta={"current": 3, "total": 7, "status": "And now nothing"}
    )
    note(self, "started")
    time.sleep(300)
    note(self, "went on to the end")


@shared_task(bind=True)
def returning(self, value):
    return value


@shared_task(bind=True)
def returning_what_json_has_not(self):
    return {"result": {"price": Decimal("1.10"), "share": float("nan")}}


@shared_task(bind=True)
def failing(self):
    """Fail after 3 of 7 steps."""
    self.update_state(state="PROGRESS", meta={"current": 3, "total": 7, "status": "Step 3"})
    raise ValueError("row 4 has no name")


@shared_task
def failing_with(argument):
    raise LookupError("no such row")


@shared_task(bind=True)
def failing_with_an_error_of_its_own(self):
    class PaymentRefused(Exception):
        pass

    raise PaymentRefused("card 4711 has expired")


@shared_task(bind=True)
def returning_what_cannot_be_stored(self):
    return object()


@shared_task(bind=True, max_retries=2)
def retrying(self, countdown):
    """Fail twice with a retry, then succeed."""
    self.update_state(state="PROGRESS", meta={"current": 3, "total": 7, "status": "Step 3"})
    if self.request.retries < 2:
        raise self.retry(exc=ConnectionError("mail.example is away"), countdown=countdown)
    return "sent"


@shared_task(bind=True, restartable=True)
def repeatable(self, *args, fails=True, **kwargs):
    """Note the arguments and the options of the message, and fail."""
    options = {"limits": self.request.timelimit, "priority": self.request.delivery_info["priority"]}
    note(self, json.dumps([args, kwargs, self.request.headers, options]))
    if fails:
        raise ValueError("no such row")


@shared_task(bind=True, restartable=True, max_retries=1)
def repeatable_after_a_retry(self, row):
    note(self, json.dumps([self.request.retries, row]))
    raise self.retry(exc=ValueError("no such row"), countdown=0)


@shared_task(bind=True, max_retries=2)
def keeping(self, value, retries=2):
    """Keep `value` in the first attempt, retry, and return what each attempt has found."""
    note(self, json.dumps(self.last_checkpoint))
    if not self.request.retries:
        self.checkpoint(value)
    note(self, json.dumps(self.last_checkpoint))
    if self.request.retries < retries:
        raise self.retry(countdown=0)


@shared_task(bind=True)
def keeping_on(self):
    """Keep something again and again, and note what came of it."""
    note(self, "started")
    try:
        while True:
            self.checkpoint(1)
            time.sleep(0.05)
    except TaskCancelled:
        note(self, "stopped by itself")
        raise


@shared_task(bind=True)
def ignoring(self):
    self.update_state(state="PROGRESS", meta={"current": 3, "total": 7, "status": "Step 3"})
    raise Ignore


@shared_task(bind=True)
def failing_by_hand(self):
    """Store the end with `update_state`, and raise Ignore to keep Celery from storing another one."""
    self.update_state(
        state="FAILURE", meta={"current": 3, "total": 7, "status": "The shelf is empty"}
    )
    raise Ignore


@shared_task(bind=True, acks_late=True)
def rejecting(self, requeue=False):
    """Reject the message; with `requeue`, accept it when it is delivered again."""
    note(self, "taken")
    if not requeue or not self.request.delivery_info.get("redelivered"):
        raise Reject("not for me", requeue=requeue)
    return "taken after all"


@shared_task(bind=True)
def replacing_itself(self):
    raise self.replace(returning.si("of the task that took over"))


@shared_task(bind=True)
def adding(self, numbers, more=0):
    return sum(numbers) + more


@shared_task(bind=True)
def starting_another(self):
    """Start another task from the worker."""
    return noting.delay().id


@shared_task(bind=True)
def starting_a_chain(self):
    return chain(noting.si(), noting.si()).delay().id


@shared_task(bind=True)
def tracking_rows(self, rows):
    """Track many rows as fast as possible, wait at the last one, and note the times of the start and of the wait."""
    note(self, str(time.time()))
    for row in self.track(range(rows), "Importing rows"):
        if row == rows - 1:
            note(self, str(time.time()))
            wait_for_release(self)
    return {"result": rows}


@shared_task(bind=True)
def tracking_slowly(self, rows, pause):
    note(self, "started")
    try:
        for _ in self.track(range(rows), "Importing rows"):
            time.sleep(pause)
    except TaskCancelled:  # one that is terminated instead does not come here
        note(self, "stopped by itself")
        raise
    note(self, "went on to the end")


@shared_task(bind=True)
def tracking_what_has_no_length(self, total=None):
    """Track three items of a generator, and wait at the last one."""
    for item in self.track((letter for letter in "abc"), "Reading letters", total=total):
        if item == "c":
            wait_for_release(self)


@shared_task(bind=True)
def tracking_until_it_fails(self):
    for row in self.track(range(10), "Importing rows"):
        if row == 4:
            raise ValueError("row 4 has no name")


@shared_task(bind=True)
def knowing_the_app(self):
    """Use Flask's context, as a task that sends mail or renders a template does."""
    from flask import current_app  # noqa: PLC0415  # imported in the task, since this is what is tested

    return current_app.name


@shared_task(bind=True)
def counting_shared_objects(self):
    return gc.get_freeze_count()


@shared_task(bind=True)
def tracking_after_a_break(self):
    """Break out of one tracked loop, complete another one, and wait."""
    for row in self.track(range(10), "Looking for the header"):
        if row == 4:
            break
    for _ in self.track(range(3), "Importing rows"):
        pass
    wait_for_release(self)


@shared_task
def large(size, kind):
    """Return `size` characters, alone or in a dict with a message."""
    if kind == "dict":
        return {"current": 7, "total": 7, "status": "Made", "result": "x" * size}
    return "x" * size


logger = get_task_logger(__name__)


@shared_task(bind=True)
def logging(self, lines):
    """Log each line, and wait until the test lets the task go on."""
    for line in lines:
        self.log(*line) if isinstance(line, list) else self.log(line)
    wait_for_release(self)
    self.log("done")


@shared_task(bind=True, max_retries=1)
def logging_and_failing(self):
    """Log in each attempt, retry once, and fail."""
    self.log(f"attempt {self.request.retries + 1}")
    if self.request.retries == 0:
        raise self.retry(exc=OSError("No answer"), countdown=0)
    raise ValueError("row 4 has no name " * 30)


@shared_task(bind=True, max_retries=1)
def logging_until_its_retry_runs(self):
    """Log a line and send a retry at once, and end only when that runs."""
    self.log(f"attempt {self.request.retries + 1}")
    note(self, "started")
    if self.request.retries:
        return
    retry = self.retry(countdown=0, throw=False)
    while len(self.backend.client.lrange(f"tests:{self.request.id}", 0, -1)) < 2:
        time.sleep(0.005)
    raise retry


@shared_task(bind=True)
def logging_when_cancelled(self):
    self.log("started")
    note(self, "started")
    try:
        for _ in range(1000):
            self.update_state(meta={"current": 1, "total": 2})
            time.sleep(0.05)
    finally:
        self.log("cleaned up")


class Unprintable:
    def __str__(self):
        raise ValueError("never")


@shared_task(keep_log=True)
def logging_by_loggers(secret):
    logger.info("%d rooms", 3)
    logging_module.getLogger("celery.task.other").warning("of another logger")
    logging_module.getLogger("elsewhere").warning("of a logger that is not a task's")
    logger.warning("bad %s", Unprintable())
    try:
        raise LookupError("no such room")
    except LookupError:
        logger.exception("it failed")
    helping("called as a function")
    return "done"


@shared_task(bind=True)
def helping(self, line):
    """Log a line, by both ways."""
    self.log(line)
    logger.info("helped")


@shared_task
def not_keeping():
    logger.info("for the worker's log only")


@shared_task(bind=True)
def logging_many(self, count):
    """Log that many lines, and return how many seconds that took."""
    since = time.monotonic()
    for number in range(count):
        self.log(f"line {number + 1}")
    return time.monotonic() - since


@shared_task(ignore_result=True)
def without_a_result():
    """Sent by its name, it has a message that does not say that its result is ignored."""


class LoggingAtItsEnd(Task):
    def after_return(self, *args, **kwargs):
        self.log("over")


@shared_task(base=LoggingAtItsEnd)
def logging_at_its_end():
    pass


@shared_task
def counting_trackers():
    return sum(thread.name == "longtask-tracker" for thread in threading.enumerate())


@shared_task(bind=True)
def logging_after_a_child_has_failed(self):
    """Log before and after the test lets the task go on, while its family has failed."""
    self.delay_child(failing.si())
    self.log("started a child")
    wait_for_release(self)
    self.log("done")


@shared_task(bind=True, ignore_result=True)
def retrying_later(self):
    raise self.retry(exc=ConnectionError("No answer"), countdown=600)
