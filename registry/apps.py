"""Django's view of the registry."""

from django.apps import AppConfig


class RegistryConfig(AppConfig):
    """The registry of agents."""

    name = "registry"
    default_auto_field = "django.db.models.BigAutoField"
