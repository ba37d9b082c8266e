"""Celery: a task a job, Redis as broker and for results."""
