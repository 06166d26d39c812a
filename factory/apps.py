"""Django's view of the factory."""

from django.apps import AppConfig


class FactoryConfig(AppConfig):
    """The operator's room."""

    name = "factory"
    verbose_name = "Agent Factory"
    default_auto_field = "django.db.models.BigAutoField"
