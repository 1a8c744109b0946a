"""The app's only periodic task, which beat starts. It removes old data of the examples."""

from datetime import timedelta

from celery import shared_task
from flask import current_app

from examples import imports, outbox


@shared_task
def clean_up() -> None:
    """Let each example remove its old data."""
    keep = timedelta(days=current_app.config["KEEP_DAYS"])
    imports.clean_up(keep)
    outbox.clean_up(keep)
