"""A user's plain Celery app, in a process that has also called `LongTask(app)`."""
