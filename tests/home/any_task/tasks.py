"""Tasks in every form that an author may use. They note in Redis what a test could not see otherwise."""

import os
import time
from collections.abc import Iterable
from typing import Any

from celery import Task, shared_task
from celery.exceptions import SoftTimeLimitExceeded
from flask import current_app
from redis import Redis

from tests.home.any_task.site import celery


def note(task: Task, what: str) -> None:
    with Redis.from_url(os.environ["REDIS_URL"]) as redis:
        redis.rpush(f"noted:{task.request.id}", what)
        redis.rpush("noted", f"{task.request.id} {what}")


def hold(task: Task) -> None:
    """Wait until a test lets the task go on. The reports meanwhile stop a cancelled task."""
    with Redis.from_url(os.environ["REDIS_URL"]) as redis:
        while redis.blpop([f"go on:{task.request.id}"], timeout=1) is None:
            task.update_state(state="PROGRESS", meta={"current": 1, "total": 2, "status": "Half"})


@celery.task(name="plain")
def plain(what: str = "") -> str:
    return f"{what} in {current_app.name}"


@shared_task(name="shared")
def shared(what: str = "") -> str:
    return f"{what} in {current_app.name}"


@celery.task(bind=True, name="bound")
def bound(self: Task, what: str = "") -> str:
    note(self, "ran")
    for _ in self.track(range(2), "Tracking"):
        hold(self)
    return f"{what} in {current_app.name}"


class Import(Task):  # type: ignore[misc]  # Celery has no types
    """A class-based task."""

    name = "class_based"

    def run(self, what: str = "") -> str:
        note(self, "ran")
        for _ in self.track(range(2), "Tracking"):
            hold(self)
        return f"{what} in {current_app.name}"


class_based = celery.register_task(Import())


class Audited(Task):  # type: ignore[misc]
    """A base class with handlers, which uses neither Flask nor LongTask."""

    abstract = True

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        note(self, "before_start")

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        note(self, "on_success")


class Opened(Task):  # type: ignore[misc]
    """A base class with code before and after each run."""

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        note(self, "opened")
        try:
            return super().__call__(*args, **kwargs)
        finally:
            note(self, "closed")


@celery.task(bind=True, base=Audited, name="on_a_plain_base")
def on_a_plain_base(self: Task, what: str = "") -> str:
    note(self, "ran")
    for _ in self.track(range(2), "Tracking"):
        hold(self)
    return f"{what} in {current_app.name}"


@shared_task(bind=True, base=Opened, name="with_its_own_call")
def with_its_own_call(self: Task, what: str = "") -> str:
    note(self, "ran")
    for _ in self.track(range(2), "Tracking"):
        hold(self)
    return f"{what} in {current_app.name}"


def wrapped(function: Any) -> Any:
    """A typical decorator of an author, without functools.wraps. Its tasks need a name."""

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


@celery.task(bind=True, name="wrapped_function")
@wrapped
def wrapped_function(self: Task, what: str = "") -> str:
    note(self, "ran")
    for _ in self.track(range(2), "Tracking"):
        hold(self)
    return f"{what} in {current_app.name}"


@celery.task(bind=True, name="held")
def held(self: Task) -> str:
    """Wait without reports until a test lets the task go on."""
    note(self, "ran")
    with Redis.from_url(os.environ["REDIS_URL"]) as redis:
        redis.blpop([f"go on:{self.request.id}"], timeout=60)
    return "let go on"


@celery.task(name="add")
def add(one: int, other: int) -> int:
    return one + other


@celery.task(name="total")
def total(numbers: Iterable[int]) -> int:
    return sum(numbers)


@celery.task(bind=True, name="ignored", ignore_result=True)
def ignored(self: Task) -> str:
    note(self, "ran")
    return "of no interest"


@celery.task(bind=True, name="retrying", max_retries=3)
def retrying(self: Task, times: int) -> str:
    if self.request.retries < times:
        raise self.retry(exc=ConnectionError("the shelf is being moved"), countdown=0.1)
    return f"after {self.request.retries}"


@celery.task(name="limited", rate_limit="10/s")
def limited() -> str:
    return "at last"


@celery.task(name="too_long", time_limit=1)
def too_long() -> None:
    time.sleep(300)


@celery.task(name="warned", soft_time_limit=1)
def warned() -> str:
    try:
        time.sleep(300)
    except SoftTimeLimitExceeded:
        return "stopped in time"
    return "never"


@celery.task(bind=True, name="reporting")
def reporting(self: Task) -> str:
    self.update_state(state="PROGRESS", meta={"current": 1, "total": 2, "status": "Half"})
    return ", ".join(self.track(["done"], "Tracking"))
