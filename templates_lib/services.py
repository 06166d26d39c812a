"""The library: finding templates, and the only place where their versions are written."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from accounts.models import User
from ledger.audit import record
from ledger.errors import Conflict, InvalidInput, NotFound
from ledger.transitions import transition
from registry.spec import AgentSpec, TemplateRef
from templates_lib.definition import TemplateDefinition, parse_definition
from templates_lib.definitions import definition_of, follow_newest
from templates_lib.enums import VersionStatus
from templates_lib.gate import render_and_check as render_checked
from templates_lib.library_loading import LIBRARY, LoadReport, load_library
from templates_lib.models import AgentTemplate, TemplateVersion, TemplateVersionQuerySet
from templates_lib.rendering import RenderedProject
from templates_lib.skeleton import skeleton_problems
from templates_lib.sources import version_digest

__all__ = [
    "LIBRARY",
    "LoadReport",
    "check_version",
    "definition_of",
    "deprecate_version",
    "duplicate_version",
    "load_library",
    "publish_version",
    "published_templates",
    "render_and_check",
    "save_draft",
    "shown_version",
    "template_for",
    "version_of",
]

# --- Reading ----------------------------------------------------------------------------------


def published_templates() -> TemplateVersionQuerySet:
    """Return the newest published version of each template, ``template`` joined, in order."""
    return TemplateVersion.objects.newest_published()


def template_for(slug_or_id: str | UUID) -> tuple[AgentTemplate, TemplateVersion]:
    """Return a template by slug or id, with its newest published version.

    Raises:
        NotFound: ``template_not_found``; no such template, or nothing of it is published.

    """
    # The contents are the bulk of the row; ``definition_of`` nearly always has them at hand.
    found = published_templates().defer("definition", "files")
    version = found.filter(**_template_filter(slug_or_id)).first()
    if version is None:
        raise _not_found(str(slug_or_id))
    return version.template, version


def shown_version(slug_or_id: str | UUID) -> TemplateVersion:
    """Return the version that speaks for a template: published, else its newest deprecated one.

    Raises:
        NotFound: ``template_not_found``.

    """
    filters = _template_filter(slug_or_id)
    version = published_templates().filter(**filters).first() or (
        TemplateVersion.objects.filter(**filters, status=VersionStatus.DEPRECATED)
        .select_related("template")
        .newest_first()
        .first()
    )
    if version is None:
        raise _not_found(str(slug_or_id))
    return version


def version_of(reference: TemplateRef) -> TemplateVersion:
    """Return the version that a specification was made from, which may be deprecated by now.

    Raises:
        NotFound: ``template_not_found``.

    """
    version = (
        TemplateVersion.objects.filter(template__slug=reference.slug, version=reference.version)
        .exclude(status=VersionStatus.DRAFT)
        .select_related("template")
        .first()
    )
    if version is None:
        raise _not_found(f"{reference.slug} {reference.version}")
    return version


def render_and_check(spec: AgentSpec) -> RenderedProject:
    """Render ``spec`` with the skeleton of its template's version, and check the result.

    Raises:
        NotFound: the template's version is gone.
        RenderingRejected: the project did not pass the gate.

    """
    return render_checked(spec, skeleton=version_of(spec.template).files)


def _template_filter(slug_or_id: str | UUID) -> dict[str, Any]:
    if isinstance(slug_or_id, UUID):
        return {"template_id": slug_or_id}
    try:
        return {"template_id": UUID(slug_or_id)}
    except ValueError:
        return {"template__slug": slug_or_id.replace("\x00", "")}


def _not_found(name: str) -> NotFound:
    return NotFound(
        "template_not_found",
        f"There is no template {name[:100]!r}. Choose one from the list of templates.",
    )


# --- Writing ----------------------------------------------------------------------------------


def check_version(
    *, slug: str, definition: Any, files: Mapping[str, str], version: str | None = None
) -> TemplateDefinition:
    """Return the typed definition if it and the skeleton make an agent that passes the gate.

    Raises:
        InvalidInput: naming each place to mend; files as ``files.<path>:<line>``.
        RenderingRejected: the rendered project did not pass the gate.

    """
    parsed = parse_definition(definition)
    if parsed.slug != slug:
        raise InvalidInput.of_field("slug", "mismatch", f"The slug of this template is {slug!r}.")
    if version is not None and parsed.version != version:
        raise InvalidInput.of_field(
            "version", "mismatch", f"The version of this row is {version!r}. Change both together."
        )
    problems = skeleton_problems(files)
    if problems:
        raise InvalidInput(
            "invalid_skeleton",
            f"{problems[0].attr}: {problems[0].detail}",
            problems=problems,
        )
    render_checked(parsed.sample_spec(), skeleton=files)
    return parsed


def save_draft(
    *,
    actor: User | None,
    version: TemplateVersion,
    definition: Mapping[str, Any],
    files: Mapping[str, str],
) -> TemplateVersion:
    """Write the contents of a draft, whose number follows the definition.

    The audit trail keeps what was before and after, with who did it; saving what stands there
    changes nothing.

    Raises:
        InvalidInput: the contents are not valid.
        Conflict: ``version_published``; a published version never changes. ``version_taken``;
            there is another version of that number.

    """
    parsed = check_version(slug=version.template.slug, definition=definition, files=files)
    values = parsed.model_dump(mode="json")
    taken = TemplateVersion.objects.filter(template=version.template, version=parsed.version)
    after: dict[str, Any] = {
        "version": parsed.version,
        "definition": values,
        "files": dict(files),
        "digest": version_digest(values, files),
        "changelog": parsed.changelog,
    }
    with transaction.atomic():
        row = TemplateVersion.objects.select_for_update(of=("self",)).filter(pk=version.pk).first()
        if taken.exclude(pk=version.pk).exists():
            raise Conflict(
                "version_taken",
                f"There is a version {parsed.version} already. Raise the version.",
            )
        if row is None or row.status != VersionStatus.DRAFT:
            raise Conflict(
                "version_published",
                "A published version never changes. Duplicate it as a new draft and edit that.",
            )
        before = {name: getattr(row, name) for name in after}
        if before != after:
            TemplateVersion.objects.filter(pk=row.pk).update(**after)
            record(
                "template_version.edited",
                row,
                actor=actor,
                detail={"changes": _changes(before, after)},
            )
    version.refresh_from_db()
    return version


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Return what differs as ``{name: [before, after]}``; of the files, each one that differs."""
    found = {
        name: [before[name], after[name]]
        for name in after
        if name != "files" and before[name] != after[name]
    }
    old, new = before["files"], after["files"]
    files = {
        path: [old.get(path), new.get(path)]
        for path in sorted(old.keys() | new.keys())
        if old.get(path) != new.get(path)
    }
    return found | ({"files": files} if files else {})


def duplicate_version(*, actor: User | None, version: TemplateVersion) -> TemplateVersion:
    """Return a new draft with the contents of ``version`` under the next free number."""
    with transaction.atomic():
        template = AgentTemplate.objects.select_for_update().get(pk=version.template_id)
        newest = TemplateVersion.objects.filter(template=template).newest_first().first() or version
        major, minor, _ = (int(number) for number in newest.version.split("."))
        definition = {**version.definition, "version": f"{major}.{minor + 1}.0", "changelog": ""}
        draft = TemplateVersion.objects.create(
            template=template,
            version=definition["version"],
            definition=definition,
            files=version.files,
            digest=version_digest(definition, version.files),
            created_by=actor,
        )
        record("template_version.duplicated", draft, actor=actor, detail={"from": version.version})
    return draft


def publish_version(*, actor: User | None, version: TemplateVersion) -> None:
    """Publish a draft, or a deprecated version again, once it has passed the gate.

    Raises:
        InvalidInput, RenderingRejected: the version does not make a working agent.
        InvalidTransition: it is published already.

    """
    version.refresh_from_db()
    check_version(
        slug=version.template.slug,
        definition=version.definition,
        files=version.files,
        version=version.version,
    )
    with transaction.atomic():
        transition(version, to=VersionStatus.PUBLISHED, actor=actor, published_at=timezone.now())
        follow_newest(version.template)


def deprecate_version(*, actor: User | None, version: TemplateVersion, reason: str = "") -> None:
    """Take a published version out of the library; agents made from it go on.

    Raises:
        InvalidTransition: it is not published.

    """
    with transaction.atomic():
        transition(version, to=VersionStatus.DEPRECATED, actor=actor, reason=reason)
        follow_newest(version.template)
