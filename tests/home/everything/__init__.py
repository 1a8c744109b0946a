"""An app that already has its own routes, error handlers, login, CSRF protection and Celery app."""
