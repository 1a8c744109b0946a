"""Checks of the broker: whether it answers, and whether messages use Longtask's transport."""

from collections.abc import Iterator

from flask import Flask
from kombu.exceptions import OperationalError
from kombu.utils.url import maybe_sanitize_url

from flask_longtask.celery.app import Celery
from flask_longtask.celery.broker.queues import count_waiting
from flask_longtask.celery.broker.transport import transport_for
from flask_longtask.cli.doctor.finding import Finding, mend, no_answer, ok
from flask_longtask.cli.group import celery_app


def answers(_: Flask) -> Iterator[Finding]:
    app = celery_app()
    where = _without_password(app)
    try:
        waiting = count_waiting(app)
    except OperationalError as error:
        advice = "Start the broker, or correct broker_url in Celery's settings."
        yield no_answer(where, error, advice)
    else:
        yield ok(
            f"{where} answers: {waiting:,} {'message waits' if waiting == 1 else 'messages wait'}."
        )


def transport(_: Flask) -> Iterator[Finding]:
    app = celery_app()
    ours = transport_for(app.write_url())
    if ours is None:
        yield mend(
            f"Longtask has no transport for {_without_password(app)}: the tasks of a dead worker may be lost. "
            "Use Redis or RabbitMQ."
        )
    elif app.conf.broker_transport not in (None, ours):
        yield mend(
            f"broker_transport is set to {app.conf.broker_transport}: the tasks of a dead worker are not redelivered "
            "in time. Remove it from Celery's settings."
        )
    else:
        yield ok("Messages use Longtask's transport.")


def _without_password(app: Celery) -> str:
    return ";".join(maybe_sanitize_url(u) for u in app.write_url().split(";"))
