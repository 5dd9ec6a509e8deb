"""Celery workers and the keeper."""
