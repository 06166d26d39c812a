"""Django's view of the gateway."""

from django.apps import AppConfig


class GatewayConfig(AppConfig):
    """Invocation and egress."""

    name = "gateway"
    default_auto_field = "django.db.models.BigAutoField"
