"""Django's view of the accounts."""

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """People and the organisations that they work for."""

    name = "accounts"
    default_auto_field = "django.db.models.BigAutoField"
