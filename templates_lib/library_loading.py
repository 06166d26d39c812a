"""Bringing the library's files into versioned rows."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

import structlog
from django.db import connection, transaction
from django.utils import timezone

from ledger.errors import DomainError
from ledger.transitions import transition
from templates_lib.definitions import follow_newest, template_columns
from templates_lib.enums import VersionStatus
from templates_lib.gate import render_and_check
from templates_lib.models import AgentTemplate, TemplateVersion
from templates_lib.sources import SourceError, TemplateSource, read_template

log = structlog.get_logger(__name__)

LIBRARY: Final = Path(__file__).parent / "library"
# Any number, the same in every process: two programs that start at once take turns.
_LOCK: Final = 7_245_001


class Outcome(StrEnum):
    """What became of one folder of the library."""

    CREATED = "created"
    NEW_VERSION = "new version"
    UNCHANGED = "unchanged"
    REFUSED = "refused"


@dataclass(frozen=True)
class LoadEntry:
    """One folder of the library; ``problem`` says what to mend, with file and line."""

    slug: str
    outcome: Outcome
    version: str = ""
    problem: str = ""


@dataclass(frozen=True)
class LoadReport:
    """All folders of the library, by name."""

    entries: tuple[LoadEntry, ...]

    @property
    def refused(self) -> tuple[LoadEntry, ...]:
        """The folders that could not be loaded."""
        return tuple(entry for entry in self.entries if entry.outcome is Outcome.REFUSED)


def load_library(*, folder: Path = LIBRARY) -> LoadReport:
    """Load every template in ``folder``; a broken one is reported and the others still load.

    New versions are published at once. What has not changed costs a comparison. A changed file
    under a version that exists is refused, for agents were made from it.
    """
    folders = sorted(
        path for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "_"))
    )
    return LoadReport(tuple(_load_folder(path) for path in folders))


def _load_folder(folder: Path) -> LoadEntry:
    try:
        source = read_template(folder)
        return _load(folder, source)
    except SourceError as error:
        problem = str(error)
    except DomainError as error:
        places = "; ".join(f"{item.attr}: {item.detail}" for item in error.problems[:3])
        problem = f"{folder}: {error.message}" + (f" ({places})" if places else "")
    log.error("template not loaded", template=folder.name, problem=problem)
    return LoadEntry(folder.name, Outcome.REFUSED, problem=problem)


def _load(folder: Path, source: TemplateSource) -> LoadEntry:
    definition, digest = source.definition, source.digest
    # Without the lock: on nearly every start nothing has changed.
    existing = _existing(source)
    if existing is None:
        render_and_check(definition.sample_spec(), skeleton=source.files)
    with transaction.atomic():
        if existing is None:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
            existing = _existing(source)
        if existing is not None:
            if existing.digest != digest:
                raise SourceError(
                    folder / "template.yaml",
                    1,
                    f"Version {definition.version} exists ({existing.get_status_display()}) with "
                    "other contents. Raise the version and say in CHANGELOG.md what changed.",
                )
            return LoadEntry(definition.slug, Outcome.UNCHANGED, definition.version)
        return _create(source)


def _existing(source: TemplateSource) -> TemplateVersion | None:
    return (
        TemplateVersion.objects.filter(
            template__slug=source.definition.slug, version=source.definition.version
        )
        .defer("definition", "files")
        .first()
    )


def _create(source: TemplateSource) -> LoadEntry:
    definition = source.definition
    template, is_new = AgentTemplate.objects.get_or_create(
        slug=definition.slug, defaults=template_columns(definition)
    )
    version = TemplateVersion.objects.create(
        template=template,
        version=definition.version,
        definition=definition.model_dump(mode="json"),
        files=source.files,
        digest=source.digest,
        changelog=definition.changelog,
    )
    transition(
        version,
        to=VersionStatus.PUBLISHED,
        reason="loaded from the library",
        published_at=timezone.now(),
    )
    follow_newest(template)
    outcome = Outcome.CREATED if is_new else Outcome.NEW_VERSION
    return LoadEntry(definition.slug, outcome, definition.version)
