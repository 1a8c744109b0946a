"""A plain Celery app. The variable LONGTASK says whether `LongTask(app)` is called `before` or `after` its creation."""

import os
import time
from pathlib import Path

from celery import Celery
from flask import Flask

from flask_longtask import LongTask


def make_guest() -> None:
    url = os.environ["LONGTASK_REDIS_URL"]
    guest = Flask("guest")
    guest.config["CELERY"] = {"broker_url": url, "result_backend": url}
    LongTask(guest)


if os.environ["LONGTASK"] == "before":
    make_guest()

plain = Celery("plain", broker=os.environ["REDIS_URL"], backend=os.environ["REDIS_URL"])
plain.conf.update(task_acks_late=True, broker_transport_options={"visibility_timeout": 2})

if os.environ["LONGTASK"] == "after":
    make_guest()


@plain.task(name="hold")
def hold(folder: str) -> int:
    """Note the process that runs the task, and wait for the file `go`. The test kills the first worker before that."""
    (Path(folder) / str(os.getpid())).touch()
    while not (Path(folder) / "go").exists():
        time.sleep(0.05)
    return os.getpid()
