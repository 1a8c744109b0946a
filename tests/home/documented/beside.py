"""The same app with LongTask, which uses the app's Celery app or, with OWN_CELERY=no, creates another one."""

import os

from flask_longtask import LongTask
from tests.home.documented.as_documented import celery_app, flask_app

if os.environ["OWN_CELERY"] == "no":
    # A separate database, because two Celery apps must not share a queue.
    flask_app.config["CELERY"] = {
        "broker_url": os.environ["LONGTASK_REDIS_URL"],
        "result_backend": os.environ["LONGTASK_REDIS_URL"],
    }
    LongTask(flask_app)
else:
    LongTask(flask_app, url_prefix="/jobs", celery=celery_app)

__all__ = ["celery_app", "flask_app"]
