"""Celery workers: they hear doorbells, claim units, do them and commit."""
