"""Django's view of the template library."""

from django.apps import AppConfig


class TemplatesLibConfig(AppConfig):
    """Templates, their versions and rendering."""

    name = "templates_lib"
    verbose_name = "Templates"
    default_auto_field = "django.db.models.BigAutoField"
