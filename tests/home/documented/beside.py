"""The same app with LongTask in it: it takes the Celery app over, or, with OWN_CELERY=no, makes one of its own."""

import os

from flask_longtask import LongTask
from tests.home.documented.as_documented import celery_app, flask_app

if os.environ["OWN_CELERY"] == "no":
    # A database of its own: two Celery apps share no queue.
    flask_app.config["CELERY"] = {
        "broker_url": os.environ["LONGTASK_REDIS_URL"],
        "result_backend": os.environ["LONGTASK_REDIS_URL"],
    }
    LongTask(flask_app)
else:
    LongTask(flask_app, url_prefix="/jobs", celery=celery_app)

__all__ = ["celery_app", "flask_app"]
