"""celery-batches: Celery, and many jobs to a task."""
