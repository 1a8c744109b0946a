"""Adds our behaviour to existing objects of a Celery app. The behaviour itself is defined elsewhere.

Only objects of that app change. No class of Celery's or of the app's author does, so other Celery apps in the process
work as before.
"""

from inspect import getattr_static
from typing import Any

from celery.app import registry
from kombu.utils.imports import symbol_by_name

from flask_longtask.celery.stalls import check_seconds
from flask_longtask.task import Task

#: The public methods and attributes that our tasks have and Celery's do not.
_OFFERED = (
    "apply_async_on_commit",
    "checkpoint",
    "delay_child",
    "delay_on_commit",
    "keep_log",
    "last_checkpoint",
    "log",
    "restartable",
    "stall_seconds",
    "track",
)


class _Quiet:
    """Prevents another call of a class's `__init_subclass__`, which may need arguments."""

    def __init_subclass__(cls) -> None:
        pass


def with_mixin(mixin: type, base: type, **attributes: Any) -> type:
    """Return a class that derives from `mixin` and `base`, in this order."""
    if issubclass(base, mixin):
        return base
    if issubclass(mixin, base) and not attributes:
        return mixin
    names = {"__module__": base.__module__, "__doc__": base.__doc__}
    return type(base.__name__, (_Quiet, mixin, base), {**names, **attributes})


def adapt(target: Any, mixin: type) -> None:
    """Make an object an instance of `mixin` as well as of its own class."""
    target.__class__ = with_mixin(mixin, type(target))


def adapt_task(task: Any) -> None:
    """Make a task an instance of Task, whatever base class its author has given it.

    Raises ValueError if one of its attributes has a value that it cannot have.
    """
    if not isinstance(task, Task):
        _mix_in(task)
    check_seconds(task)


def _mix_in(task: Any) -> None:
    base = type(task)
    # An author's own attributes of these names take precedence.
    attributes = {name: getattr_static(base, name) for name in _OFFERED if hasattr(base, name)}
    if base.Request != "celery.worker.request:Request":
        attributes["Request"] = with_mixin(
            symbol_by_name(Task.Request),  # type: ignore[no-untyped-call]
            symbol_by_name(base.Request),  # type: ignore[no-untyped-call]
        )
    task.__class__ = with_mixin(Task, base, **attributes)


class TaskRegistry(registry.TaskRegistry):  # type: ignore[misc]  # Celery has no types
    """The tasks of an app. Adapts each task when it is registered."""

    def __setitem__(self, name: str, task: Any) -> None:
        adapt_task(task)
        super().__setitem__(name, task)
