"""What a worker, beat and Flower are pointed at: `celery -A celery_worker worker`."""

from app import celery

__all__ = ["celery"]
