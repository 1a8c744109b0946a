"""Who uses the system meanwhile: clients that start, follow and cancel tasks."""
