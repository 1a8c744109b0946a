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

#: The most names of tasks that an error lists.
MOST_NAMED = 10


@cli.command("list")
@click.option(
    "--limit",
    type=click.IntRange(1, 10_000),
    default=50,
    show_default=True,
    help="How many tasks to list.",
)
@as_json
def list_tasks(limit: int, as_json: bool) -> None:
    """List the open tasks, newest first.

    Open tasks wait, are scheduled or run, whoever started them. Tasks that have ended are not listed, nor are tasks
    of a chain before their turn; `watch` shows both by their ids.
    """
    backend = celery_app().backend
    listing = backend.store.listing
    page, number = listing.page("open", most=limit), listing.count("open")
    tasks = [t for t in backend.describe(page.task_ids).values() if t]
    if as_json:
        echo_json({"tasks": tasks, "open": number})
        return
    if not tasks:
        click.echo("There are no open tasks.")
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
@click.option("--watch", "is_watched", is_flag=True, help="Watch the task until it ends.")
@as_json
def start(name: str, arguments: str, is_watched: bool, as_json: bool) -> None:
    """Start a task and print its id.

    TASK is the task's full name, or the last part of the name if no other task shares it. JSON is an object of
    keyword arguments or an array of positional arguments.
    """
    app = celery_app()
    task = _find(app, name)
    args, kwargs = _read(arguments)
    try:
        task_id = str(task.apply_async(args, kwargs).id)
    except TypeError as error:  # Celery checks the arguments against the task's signature
        raise Unusable(f"{task.name} cannot be called with these arguments: {error}.") from error
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

    Exits with 0 if all of them were cancelled, with 1 if one had already ended, with 2 if one does not exist.
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
            said = f"It had already ended: {ended['state']}."
            code = code or FAILED
        if not as_json:
            click.echo(f"{task_id}: {said}")
    if as_json:
        echo_json({"tasks": backend.describe(task_ids)})
    click.get_current_context().exit(code)


def _find(app: Celery, name: str) -> celery.Task:
    """Return the task with this full or short name. Raises Unusable, which suggests names."""
    app.loader.import_default_modules()
    if name in app.tasks:
        return app.tasks[name]
    names = sorted(known for known in app.tasks if not known.startswith("celery."))
    found = [known for known in names if known.rpartition(".")[2] == name]
    if len(found) == 1:
        return app.tasks[found[0]]
    if found:
        raise Unusable(f"{name} is ambiguous: give the full name, {' or '.join(found)}.")
    if not names:
        raise Unusable(f"There is no task {name}: the app has no tasks.")
    short = {known.rpartition(".")[2]: known for known in names}
    close = difflib.get_close_matches(name, [*names, *short], n=1)
    if close:
        raise Unusable(f"There is no task {name}. Did you mean {short.get(close[0], close[0])}?")
    more = ", …" if len(names) > MOST_NAMED else ""
    raise Unusable(f"There is no task {name}. The app has {', '.join(names[:MOST_NAMED])}{more}.")


def _read(text: str) -> tuple[list[Any], dict[str, Any]]:
    """Read positional or keyword arguments from JSON."""
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
    """Return the age of a task in the largest unit of which it has at least two, such as `90s` or `2m`."""
    if submitted is None:
        return "?"
    seconds = max(0, int(now - datetime.fromisoformat(submitted).astimezone(UTC).timestamp()))
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
