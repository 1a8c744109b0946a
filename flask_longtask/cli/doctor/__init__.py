"""The command `doctor`: checks for common mistakes and says how to mend them. Each kind of check has a module."""

from collections.abc import Callable, Iterator

import click
from flask import Flask, current_app
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from flask_longtask.cli.doctor import app, broker, store, stream, workers
from flask_longtask.cli.doctor.finding import Finding, Verdict
from flask_longtask.cli.group import (
    FAILED,
    WELL,
    as_json,
    celery_app,
    cli,
    echo_json,
    printable,
    sentence,
)

_COLOURS = {Verdict.OK: "green", Verdict.MEND: "red", Verdict.UNKNOWN: "yellow"}

#: What is checked, in this order.
CHECKS: dict[str, Callable[[Flask], Iterator[Finding]]] = {
    "secret key": app.secret_key,
    "routes": app.routes,
    "tasks": app.tasks,
    "store": store.answers,
    "eviction": store.eviction,
    "append-only file": store.append_only_file,
    "broker": broker.answers,
    "transport": broker.transport,
    "workers": workers.running,
    "versions": workers.versions,
    "queues": workers.queues,
    "messages": workers.messages,
    "clocks": workers.clocks,
}


@cli.command("doctor")
@click.option("--url", help="The site's address, to check that streams pass its proxies.")
@as_json
def doctor(url: str | None, as_json: bool) -> None:
    """Check for common mistakes, and say how to mend them.

    Exits with 0 if there is nothing to mend, else with 1.
    """
    celery_app()  # exits with an error if the app has none
    checks = dict(CHECKS)
    if url:
        checks["streams"] = lambda flask_app: stream.passes_proxies(flask_app, url)
    found = []
    for name, check in checks.items():
        for finding in _look(check):
            found.append((name, finding))
            if not as_json:
                verdict = click.style(f"{finding.verdict.value:20}", _COLOURS[finding.verdict])
                click.echo(f"{verdict}  {name}: {printable(finding.text)}")
    if as_json:
        echo_json(
            {
                "checks": [
                    {"check": name, "verdict": finding.verdict.value, "text": finding.text}
                    for name, finding in found
                ]
            }
        )
    is_well = all(finding.verdict is not Verdict.MEND for _, finding in found)
    click.get_current_context().exit(WELL if is_well else FAILED)


def _look(check: Callable[[Flask], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from check(current_app)
    except (RedisError, OperationalError) as error:
        yield Finding(Verdict.UNKNOWN, sentence(error))
    except Exception as error:  # a mistake that no check expects
        yield Finding(Verdict.UNKNOWN, sentence(f"{type(error).__name__}: {error}"))
