"""``manage.py base_image``: make the image that agents' images are built on."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from provisioning.drivers.base import DriverError


class Command(BaseCommand):
    """Finds or makes the base image, and builds the runtime image on it."""

    requires_system_checks = ()
    help = "Fetch or make the image that agents' images are built on, and build the runtime on it."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take ``--if-missing``."""
        parser.add_argument(
            "--if-missing", action="store_true", help="keep the images that are there"
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        """Do it and say what was found."""
        from provisioning.images.base import ensure_base_image
        from provisioning.images.runtime import ensure_runtime_image, rebuild_runtime_image

        keep = bool(options["if_missing"])
        try:
            base = ensure_base_image(renew=not keep, say=self._say)
            runtime = ensure_runtime_image() if keep else rebuild_runtime_image()
        except DriverError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(
            f"Base image: {base.origin}, Python {runtime.python}; agents run on {runtime.reference}"
        )

    def _say(self, words: str) -> None:
        self.stderr.write(words)
