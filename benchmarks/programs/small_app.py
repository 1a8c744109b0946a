"""A small app, for a worker whose tasks import little: `celery -A benchmarks.programs.small_app.celery worker`."""

import os

from celery import shared_task
from flask import Flask

from flask_longtask import LongTask

app = Flask(__name__)
app.config.update(
    SECRET_KEY="benchmarks",
    CELERY={"broker_url": os.environ["REDIS_URL"], "result_backend": os.environ["REDIS_URL"]},
)
LongTask(app)
celery = app.extensions["celery"]


@shared_task(bind=True)
def count(self):
    for _ in self.track(range(20), "Counting"):
        pass
