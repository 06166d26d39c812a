"""Composition only: settings, root URLs, the API router, ASGI, Celery, embedded services."""

from config.celery import app as celery_app

__all__ = ["celery_app"]
