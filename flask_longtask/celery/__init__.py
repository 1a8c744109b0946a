"""Celery and Kombu: sends and receives tasks, and extends workers. Their private names are used here only."""
