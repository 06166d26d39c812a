"""The Celery application."""

import os

from celery import Celery

# Celery cares for Django's connections, and finds the rooms' tasks, only when this is set by now.
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.local")

app = Celery("agent_factory")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
