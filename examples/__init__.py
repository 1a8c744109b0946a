"""The other tasks of this app. Each file or folder has a Celery task and the routes that start and show it."""
