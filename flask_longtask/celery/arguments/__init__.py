"""The arguments of tasks: what is kept of them, and how they are written for people."""

from flask_longtask.celery.arguments.kept import keep, send_again
from flask_longtask.celery.arguments.short_repr import short_repr

__all__ = ["keep", "send_again", "short_repr"]
