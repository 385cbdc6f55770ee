"""Celery workers: on a doorbell they claim a unit, do it and commit."""
