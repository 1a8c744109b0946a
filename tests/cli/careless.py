"""An app in which everything is wrong that `doctor` finds in an app."""

import os

from celery import shared_task
from flask import Flask

from flask_longtask import LongTask

app = Flask(__name__)
app.config["CELERY"] = {
    "broker_url": os.environ["REDIS_URL"],
    "result_backend": os.environ["REDIS_URL"],
    "broker_transport": "redis",
}
celery = LongTask(app).init_app(app)


@app.get("/tasks")
def own_tasks() -> str:
    return "the app's own"


@shared_task(acks_late=False)
def early() -> None:
    pass


@shared_task(reject_on_worker_lost=False)
def unlucky() -> None:
    pass
