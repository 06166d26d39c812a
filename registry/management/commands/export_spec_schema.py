"""Write the specification's JSON Schema to the file that the agent's program tests against."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from registry.spec_schema import SCHEMA_FILE, spec_schema_text


class Command(BaseCommand):
    """Export, or with ``--check`` compare."""

    help = "Write the JSON Schema of AgentSpec to agent_runtime/spec.schema.json."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add ``--check``."""
        parser.add_argument(
            "--check", action="store_true", help="Only say whether the file is up to date."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Write or compare the file."""
        text = spec_schema_text()
        present = SCHEMA_FILE.read_text() if SCHEMA_FILE.exists() else ""
        if options["check"]:
            if present != text:
                raise CommandError(
                    f"{SCHEMA_FILE.name} is out of date. Run manage.py export_spec_schema."
                )
            return
        if present != text:
            SCHEMA_FILE.write_text(text)
        self.stdout.write(f"{SCHEMA_FILE.name} is up to date.")
