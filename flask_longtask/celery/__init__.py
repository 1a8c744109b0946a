"""Celery and Kombu: sending tasks, receiving them, and what a worker does beside. The only private names of theirs."""
