"""What a worker does besides running tasks, as steps of Celery's consumer."""

from flask_longtask.celery.worker.hand_back import HandBack
from flask_longtask.celery.worker.heartbeat import Heartbeat
from flask_longtask.celery.worker.watch import Watch

STEPS = (Heartbeat, Watch, HandBack)
