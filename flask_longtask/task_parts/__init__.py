"""What the base class of tasks is made of besides Celery: tasks themselves are in task.py."""
