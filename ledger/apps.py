"""Django's view of the ledger."""

from django.apps import AppConfig


class LedgerConfig(AppConfig):
    """The lowest room: it knows no other."""

    name = "ledger"
    default_auto_field = "django.db.models.BigAutoField"
