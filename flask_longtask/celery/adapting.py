"""Puts our behaviour into objects of a Celery app that are there already. What that behaviour is lives elsewhere.

Only what belongs to that one app changes: no class of Celery's or of the app's author is touched, so that another
Celery app in the process goes on as ever.
"""

from inspect import getattr_static
from typing import Any

from celery.app import registry
from kombu.utils.imports import symbol_by_name

from flask_longtask.task import Task

#: What a task can do besides what Celery knows.
_OFFERED = ("apply_async_on_commit", "delay_on_commit", "track")


class _Quiet:
    """Keeps `__init_subclass__` of a class from being called again, for which arguments may be missing."""

    def __init_subclass__(cls) -> None:
        pass


def with_ours(ours: type, theirs: type, **attributes: Any) -> type:
    """A class that is first ours and then theirs."""
    if issubclass(theirs, ours):
        return theirs
    if issubclass(ours, theirs) and not attributes:
        return ours
    names = {"__module__": theirs.__module__, "__doc__": theirs.__doc__}
    return type(theirs.__name__, (_Quiet, ours, theirs), {**names, **attributes})


def adapt(thing: Any, ours: type) -> None:
    """Let an object be one of our class as well as of its own."""
    thing.__class__ = with_ours(ours, type(thing))


def adapt_task(task: Any) -> None:
    """Let a task report, be cancelled and be tracked, whatever base class its author has given it."""
    if isinstance(task, Task):
        return
    theirs = type(task)
    # What its author calls by these names is meant.
    attributes = {name: getattr_static(theirs, name) for name in _OFFERED if hasattr(theirs, name)}
    if theirs.Request != "celery.worker.request:Request":
        attributes["Request"] = with_ours(
            symbol_by_name(Task.Request),  # type: ignore[no-untyped-call]
            symbol_by_name(theirs.Request),  # type: ignore[no-untyped-call]
        )
    task.__class__ = with_ours(Task, theirs, **attributes)


class TaskRegistry(registry.TaskRegistry):  # type: ignore[misc]  # Celery has no types
    """The tasks of an app, each of which is adapted when it is registered."""

    def __setitem__(self, name: str, task: Any) -> None:
        adapt_task(task)
        super().__setitem__(name, task)
