"""Add what a new installation starts with: tools, tiers and the first price book."""

from typing import Any

from django.core.management.base import BaseCommand

from factory.services.defaults import load_defaults


class Command(BaseCommand):
    """Add what is missing; change nothing that is there."""

    help = "Add the built-in tools, the tiers and the first price book where they are missing."

    def handle(self, *args: Any, **options: Any) -> None:
        """Load and say what was added."""
        loaded = load_defaults()
        self.stdout.write(
            f"Added {loaded.tools} tools, {loaded.tiers} tiers, {loaded.price_books} price books."
        )
