"""The app of Flask's "Background Tasks with Celery": as documented, with LongTask added, and rewritten for LongTask."""
