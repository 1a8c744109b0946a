"""Long-running tasks for Flask that tell the truth about themselves: the public names, and nothing else."""

# Comes first: the other imports may fail with an older version of a dependency.
import flask_longtask.versions  # noqa: F401

# isort: split
from flask_longtask.celery.broker.queues import QueueFull
from flask_longtask.celery.sender import NotQueued, QueueAway
from flask_longtask.extension import LongTask
from flask_longtask.task import Task, TaskCancelled
from flask_longtask.web import openapi
from flask_longtask.web.body import WholeBodies
from flask_longtask.web.client import client_address
from flask_longtask.web.fields import fields, integer, seconds
from flask_longtask.web.owner import ensure_browser
from flask_longtask.web.problems import BadField, StoreAway, problem, wants_html
from flask_longtask.web.protection.idempotency import started_before
from flask_longtask.web.protection.protect import protect
from flask_longtask.web.routes import accepted, find_task

__all__ = [
    "BadField",
    "LongTask",
    "NotQueued",
    "QueueAway",
    "QueueFull",
    "StoreAway",
    "Task",
    "TaskCancelled",
    "WholeBodies",
    "accepted",
    "client_address",
    "ensure_browser",
    "fields",
    "find_task",
    "integer",
    "openapi",
    "problem",
    "protect",
    "seconds",
    "started_before",
    "wants_html",
]
