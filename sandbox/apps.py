"""Django's view of the sandbox."""

from django.apps import AppConfig


class SandboxConfig(AppConfig):
    """Tests of agents before they are deployed."""

    name = "sandbox"
    default_auto_field = "django.db.models.BigAutoField"
