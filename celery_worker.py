"""The Celery app for the worker, beat and Flower: `celery -A celery_worker worker`."""

from app import celery

__all__ = ["celery"]
