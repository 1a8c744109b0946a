"""The commands `list`, `start` and `cancel`."""

import difflib
import json
from datetime import UTC, datetime
from typing import Any

import celery
import click

from flask_longtask.celery.app import Celery
from flask_longtask.cli.group import (
    FAILED,
    UNKNOWN,
    WELL,
    Unusable,
    as_json,
    celery_app,
    cli,
    echo_json,
    echo_table,
)
from flask_longtask.cli.watch import follow

#: Names of tasks that an error lists.
MOST_NAMED = 10


@cli.command("list")
@click.option(
    "--limit",
    type=click.IntRange(1, 10_000),
    default=50,
    show_default=True,
    help="How many are listed.",
)
@as_json
def list_tasks(limit: int, as_json: bool) -> None:
    """List the open tasks, newest first.

    Those that wait, are scheduled or run, whoever has started them. A task that has ended is not listed, nor is
    one that is to follow another in a chain before its turn; `watch` knows them by their ids.
    """
    backend = celery_app().backend
    task_ids, number = backend.store.tasks.list_open(limit)
    tasks = [status for status in backend.describe(task_ids).values() if status]
    if as_json:
        echo_json({"tasks": tasks, "open": number})
        return
    if not tasks:
        click.echo("No task is open.")
        return
    now = backend.store.clock.now()
    rows = [
        [
            task["task_id"],
            task["task"] or "?",
            task["state"],
            f"{task['percent']}%",
            _age(task["submitted"], now),
            task["status"],
        ]
        for task in tasks
    ]
    echo_table(["ID", "TASK", "STATE", "%", "AGE", "STATUS"], rows)
    if number > len(tasks):
        click.echo(f"{len(tasks):,} of {number:,} open tasks.")


@cli.command()
@click.argument("name", metavar="TASK")
@click.argument("arguments", metavar="[JSON]", default="[]")
@click.option("--watch", "is_watched", is_flag=True, help="Watch it until it ends.")
@as_json
def start(name: str, arguments: str, is_watched: bool, as_json: bool) -> None:
    """Start a task and print its id.

    TASK is its name, or the last part of it if no other task's name ends in it. JSON is an object of named arguments
    or an array of arguments in their order.
    """
    app = celery_app()
    task = _find(app, name)
    args, kwargs = _read(arguments)
    try:
        task_id = str(task.apply_async(args, kwargs).id)
    except TypeError as error:  # Celery compares the arguments with the task's own
        raise Unusable(f"{task.name} cannot be called so: {error}.") from error
    if not as_json:
        click.echo(task_id)
    elif not is_watched:
        status = app.backend.describe([task_id])[task_id]
        echo_json(status or {"task_id": task_id})
    if is_watched:
        click.get_current_context().exit(follow([task_id], as_json))


@cli.command()
@click.argument("task_ids", metavar="ID…", nargs=-1, required=True)
@as_json
def cancel(task_ids: tuple[str, ...], as_json: bool) -> None:
    """Cancel tasks.

    Exits with 0 if all of them are cancelled now, with 1 if one had ended before, with 2 if there is no such task.
    """
    backend = celery_app().backend
    code = WELL
    for task_id, status in backend.describe(task_ids).items():
        if status is None:
            said, code = "There is no such task.", UNKNOWN
        elif backend.cancel(task_id):
            said = "Cancelled."
        else:
            ended = backend.describe([task_id])[task_id] or status
            said = f"It had ended already: {ended['state']}."
            code = code or FAILED
        if not as_json:
            click.echo(f"{task_id}: {said}")
    if as_json:
        echo_json({"tasks": backend.describe(task_ids)})
    click.get_current_context().exit(code)


def _find(app: Celery, name: str) -> celery.Task:
    """The task of this name, full or short."""
    app.loader.import_default_modules()
    if name in app.tasks:
        return app.tasks[name]
    names = sorted(known for known in app.tasks if not known.startswith("celery."))
    found = [known for known in names if known.rpartition(".")[2] == name]
    if len(found) == 1:
        return app.tasks[found[0]]
    if found:
        raise Unusable(f"{name} may be {' or '.join(found)}: give the full name.")
    if not names:
        raise Unusable(f"There is no task {name}: the app has none.")
    short = {known.rpartition(".")[2]: known for known in names}
    close = difflib.get_close_matches(name, [*names, *short], n=1)
    if close:
        raise Unusable(f"There is no task {name}. Is it {short.get(close[0], close[0])}?")
    more = ", …" if len(names) > MOST_NAMED else ""
    raise Unusable(f"There is no task {name}. There are {', '.join(names[:MOST_NAMED])}{more}.")


def _read(text: str) -> tuple[list[Any], dict[str, Any]]:
    """The arguments that are given as JSON."""
    try:
        arguments = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Unusable(f"The arguments are not JSON: {error}.") from error
    if isinstance(arguments, list):
        return arguments, {}
    if isinstance(arguments, dict):
        return [], arguments
    raise Unusable("The arguments must be a JSON object or array.")


def _age(submitted: str | None, now: float) -> str:
    """How long ago that was, as a number of the largest unit that it has two of."""
    if submitted is None:
        return "?"
    seconds = max(0, int(now - datetime.fromisoformat(submitted).astimezone(UTC).timestamp()))
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
