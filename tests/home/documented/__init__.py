"""An app after Flask's "Background Tasks with Celery": as documented, beside LongTask, and anew on LongTask."""
