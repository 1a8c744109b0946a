"""`celery -A tests.home.other.plain:plain worker`: LONGTASK says whether, and when, LongTask joins it."""

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
    """Note who runs it, and wait until it is let go: its first worker does not live to see that."""
    (Path(folder) / str(os.getpid())).touch()
    while not (Path(folder) / "go").exists():
        time.sleep(0.05)
    return os.getpid()
