"""The other tasks of this app, one file each: the Celery task beside the routes that start and show it."""
