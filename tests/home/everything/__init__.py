"""An app that has everything already: addresses, error handlers, a login, CSRF protection, a Celery app of its own."""
