"""The group `flask longtask`, and what its commands share: the Celery app, exit statuses, errors, output."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click
from celery.exceptions import ImproperlyConfigured
from flask.cli import AppGroup
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from flask_longtask.celery.app import Celery
from flask_longtask.celery.broker.queues import QueueFull
from flask_longtask.installed import installed
from flask_longtask.json_text import dumps

Command = TypeVar("Command", bound=Callable[..., Any])

#: Exit statuses.
WELL = 0
FAILED = 1  # a task has failed, cannot be cancelled any more, or there is something to mend
UNKNOWN = 2  # no such task; also what Click exits with for a command that cannot be understood
REVOKED = 3
NO_ANSWER = 4  # Redis or the broker does not answer, or takes no task
INTERRUPTED = 130  # by Ctrl-C, as a shell has it


class NoAnswer(click.ClickException):
    """Redis or the broker does not answer, or takes no task."""

    exit_code = NO_ANSWER


class Unusable(click.ClickException):
    """What was asked for cannot be understood, or is not there."""

    exit_code = UNKNOWN


class _Group(AppGroup):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except RedisError as error:
            raise NoAnswer(f"Redis does not answer: {sentence(error)}") from error
        except QueueFull as error:
            raise NoAnswer(f"The queue is full: {sentence(error)}") from error
        except OperationalError as error:
            raise NoAnswer(f"The task queue cannot be reached: {sentence(error)}") from error
        except ImproperlyConfigured as error:
            raise click.ClickException(sentence(error)) from error


cli = _Group("longtask", help="Long-running tasks: list, watch, start and cancel them.")

#: For scripts.
as_json = click.option("--json", "as_json", is_flag=True, help="Write JSON.")


def celery_app() -> Celery:
    """The Celery app of the Flask app."""
    try:
        return installed().celery
    except RuntimeError as error:
        raise click.ClickException(str(error)) from error


def echo_json(document: object) -> None:
    """One document on a line of its own."""
    click.echo(dumps(document))


def echo_table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Columns as wide as what stands in them."""
    lines = [heads, *([printable(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def printable(text: object) -> str:
    """On one line, and without anything that a terminal would take for a command."""
    return "".join(c if c.isprintable() else " " for c in str(text))


def sentence(error: object) -> str:
    """What an error says, with a full stop."""
    return printable(error).strip().rstrip(".") + "."


def summary(status: Mapping[str, Any]) -> str:
    """How a task is, on one line."""
    return f"{status['state']} {status['percent']}% {printable(status['status'])}".rstrip()
