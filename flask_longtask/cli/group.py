"""The group `flask longtask`, and what its commands share: the Celery app, exit statuses, errors and output."""

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
FAILED = 1  # a task failed, a task to cancel had already ended, or there is something to mend
UNKNOWN = 2  # no such task; also Click's exit status for wrong usage
REVOKED = 3
NO_ANSWER = 4  # Redis or the broker does not answer, or the queue is full
INTERRUPTED = 130  # Ctrl-C: 128 + SIGINT, as shells have it


class NoAnswer(click.ClickException):
    """Redis or the broker does not answer, or the queue is full."""

    exit_code = NO_ANSWER


class Unusable(click.ClickException):
    """The arguments of a command are wrong, or name something that does not exist."""

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

#: The option for scripts.
as_json = click.option("--json", "as_json", is_flag=True, help="Write JSON.")


def celery_app() -> Celery:
    """Return the Celery app of the Flask app. Exit with an error if the app has no LongTask."""
    try:
        return installed().celery
    except RuntimeError as error:
        raise click.ClickException(str(error)) from error


def echo_json(document: object) -> None:
    """Write a document on one line."""
    click.echo(dumps(document))


def echo_table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Write a table whose columns are as wide as their widest cell."""
    lines = [heads, *([printable(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def printable(text: object) -> str:
    """Return the text on one line, with a space for each non-printable character."""
    return "".join(c if c.isprintable() else " " for c in str(text))


def sentence(error: object) -> str:
    """Return the message of an error, ending in one full stop."""
    return printable(error).strip().rstrip(".") + "."


def summary(status: Mapping[str, Any]) -> str:
    """Return the state, percentage and message of a task on one line."""
    return f"{status['state']} {status['percent']}% {printable(status['status'])}".rstrip()
