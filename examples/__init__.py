"""The other tasks of this app, a file or a folder each: the Celery task beside the routes that start and show it."""
