"""An app with its own Celery app, its own task classes, and every way to start a task."""
