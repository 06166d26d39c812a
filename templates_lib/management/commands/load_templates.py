"""``load_templates``: bring the library's files into the database."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from templates_lib.library_loading import LIBRARY, Outcome, load_library


class Command(BaseCommand):
    """Load the template library. Running it again changes nothing."""

    help = "Load the template library; what has not changed is left alone."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the folder and how strict to be."""
        parser.add_argument("--folder", type=Path, default=LIBRARY, help="Folder of the library.")
        parser.add_argument(
            "--strict", action="store_true", help="Fail if any template can't be loaded."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Load and say what became of each template."""
        folder: Path = options["folder"]
        if not folder.is_dir():
            raise CommandError(f"There is no folder {folder}. Name the folder of the library.")
        report = load_library(folder=folder)
        for entry in report.entries:
            if entry.outcome is Outcome.REFUSED:
                self.stderr.write(f"{entry.slug}: {entry.problem}")
            elif entry.outcome is not Outcome.UNCHANGED or options["verbosity"] > 1:
                self.stdout.write(f"{entry.slug} {entry.version}: {entry.outcome}")
        if report.refused and options["strict"]:
            raise CommandError(f"{len(report.refused)} of {len(report.entries)} were not loaded.")
