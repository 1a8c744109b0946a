"""What the examples have kept for too long is removed: the one periodic task, which beat starts."""

from datetime import timedelta

from celery import shared_task
from flask import current_app

from examples import imports, outbox


@shared_task
def clean_up() -> None:
    """Each example knows by itself what it has to remove."""
    keep = timedelta(days=current_app.config["KEEP_DAYS"])
    imports.clean_up(keep)
    outbox.clean_up(keep)
