"""Sends tasks, receives them and extends workers, with Celery and Kombu. Their private names are used only here."""
