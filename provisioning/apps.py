"""Django's view of provisioning."""

from django.apps import AppConfig


class ProvisioningConfig(AppConfig):
    """Deployments and what carries them out."""

    name = "provisioning"
    default_auto_field = "django.db.models.BigAutoField"
