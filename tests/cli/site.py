"""An app with the tests' own tasks, as a user would have made it; its worker's as well."""

import os
import time

from celery import shared_task
from flask import Flask

from flask_longtask import LongTask
from tests import tasks

__all__ = ["app", "celery", "tasks"]

app = Flask(__name__)
app.config["CELERY"] = {
    "broker_url": os.environ["REDIS_URL"],
    "result_backend": os.environ["REDIS_URL"],
}
app.config["SECRET_KEY"] = "site"
celery = LongTask(app).init_app(app)


#: Seconds after which a task goes on that nobody has released, for its test has failed.
FORGOTTEN = 300.0


@shared_task(bind=True)
def holding(self, meta):
    """Report this, and wait to be released as `reporting` does, but for as long as a busy machine takes."""
    self.update_state(state="PROGRESS", meta=meta)
    for _ in range(round(FORGOTTEN * 10)):
        if self.backend.client.lpop(f"tests:release:{self.request.id}"):
            break
        time.sleep(0.1)


@shared_task(name="elsewhere.noting")
def noting() -> str:
    """Another whose name ends like one of `tests/tasks.py`."""
    return "noted"
