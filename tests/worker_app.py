"""The Celery app for workers with the tasks of the tests: `celery -A tests.worker_app worker`."""

from celery_worker import celery
from tests import tasks

__all__ = ["celery", "tasks"]

# Shorter than the default of five seconds, so that the tests need not wait.
celery.flask_app.config["LONGTASK_CANCEL_GRACE_SECONDS"] = 0.5
