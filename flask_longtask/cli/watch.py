"""The command `watch`: follows tasks until they have ended. Its exit status says how they ended."""

import logging
import sys
import time
from collections.abc import Mapping, Sequence

import click
from redis.exceptions import RedisError

from flask_longtask.celery.backend import RedisBackend
from flask_longtask.cli.group import FAILED, INTERRUPTED, REVOKED, UNKNOWN, WELL, celery_app, cli
from flask_longtask.cli.group import as_json as as_json_option
from flask_longtask.cli.views import JsonLines, Lines, View
from flask_longtask.json_text import dumps, loads
from flask_longtask.status import ENDED_STATES
from flask_longtask.web.streams.subscription import LOOK_INTERVAL, Status, Subscription

#: Seconds within which Ctrl-C takes effect where waiting for a lock cannot be interrupted.
WAIT = 1.0


@cli.command()
@click.argument("task_ids", metavar="ID…", nargs=-1, required=True)
@as_json_option
def watch(task_ids: tuple[str, ...], as_json: bool) -> None:
    """Watch tasks until they have ended.

    Draws a bar for each task on a terminal, and writes a line for each change elsewhere. With --json, each line is a
    status object. Ctrl-C stops watching; the tasks go on.

    Exits with 0 for SUCCESS, 1 for FAILURE, 2 if there is no such task, 3 for REVOKED, 130 after Ctrl-C. With
    several tasks, the first one on the command line that did not succeed decides.
    """
    click.get_current_context().exit(follow(task_ids, as_json))


def follow(task_ids: Sequence[str], as_json: bool) -> int:
    """Show the tasks until they have ended. Returns the exit status."""
    # The view says what the subscription would write to the log.
    logging.getLogger("flask_longtask").addHandler(logging.NullHandler())
    app = celery_app()
    view: View = JsonLines() if as_json else _view_for_people()
    try:
        with view:
            statuses = _first_look(app.backend, task_ids, view)
            going_on = {i: status for i, status in statuses.items() if _is_open(status)}
            subscription = Subscription(app, _write, outage=b"")
            with subscription.watch(going_on) as watcher:
                left = set(going_on)
                while left:
                    for news in watcher.wait(WAIT):
                        if not news.text:
                            view.say_away()
                            continue
                        status = statuses[news.task_id] = loads(news.text)
                        view.show(news.task_id, status)
                        if news.ended:
                            left.discard(news.task_id)
    except KeyboardInterrupt:
        click.echo("Stopped watching. Tasks that have not ended go on.", err=True)
        return INTERRUPTED
    return next(filter(None, map(_exit_status, statuses.values())), WELL)


def _view_for_people() -> View:
    if not sys.stdout.isatty():
        return Lines()
    try:
        from flask_longtask.cli.bars import Bars  # noqa: PLC0415  # Rich is optional
    except ImportError:
        return Lines()
    return Bars()


def _first_look(backend: RedisBackend, task_ids: Sequence[str], view: View) -> dict[str, Status]:
    """Return the statuses of the tasks, and show them, as soon as Redis answers."""
    while True:
        try:
            statuses: Mapping[str, Status] = backend.describe(task_ids)
        except RedisError:
            view.say_away()
            time.sleep(LOOK_INTERVAL)
            continue
        for task_id, status in statuses.items():
            view.show(task_id, status)
        return dict(statuses)


def _write(_: str, status: Status) -> bytes:
    return dumps(status)


def _is_open(status: Status) -> bool:
    return status is not None and status["state"] not in ENDED_STATES


def _exit_status(status: Status) -> int:
    if status is None:
        return UNKNOWN
    return {"SUCCESS": WELL, "REVOKED": REVOKED}.get(status["state"], FAILED)
