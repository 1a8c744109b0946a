"""The app's worker with the tests' own tasks: `celery -A tests.worker_app worker`."""

from celery_worker import celery
from tests import tasks

__all__ = ["celery", "tasks"]

# A person may wait five seconds for a silent task to be ended; the tests need not.
celery.flask_app.config["LONGTASK_CANCEL_GRACE_SECONDS"] = 0.5
