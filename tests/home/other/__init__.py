"""A plain Celery app of somebody's own, in a process in which `LongTask(app)` ran."""
