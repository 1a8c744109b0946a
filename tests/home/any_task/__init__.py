"""An app whose Celery app, task classes and ways to start a task are all somebody's own."""
