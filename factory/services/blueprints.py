"""Drafts of agents: saved, resumed, put away. Creating an agent from one is in ``creation``."""

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from accounts.callers import Caller
from accounts.roles import Action
from factory.enums import BlueprintStatus
from factory.models import Blueprint, BlueprintQuerySet
from factory.services.creation import create_agent, locked_blueprint
from ledger import audit
from ledger.errors import Conflict, InvalidInput, NotFound
from ledger.transitions import transition
from provisioning.services import discard_agent
from registry.json_bounds import check_json_bounds
from templates_lib.models import TemplateVersion

__all__ = [
    "TAKEN_BACK",
    "archive_draft",
    "blueprint_for",
    "create_agent",
    "open_drafts",
    "reopen_draft",
    "save_draft",
]

MAX_OPEN_DRAFTS: Final = 200
TAKEN_BACK: Final = "agent.taken_back"
"""What the audit trail calls an agent that was given up for its draft; ``draft`` is its key."""

_EDITABLE_TO_DRAFT: Final = frozenset(
    {
        BlueprintStatus.VALIDATING,
        BlueprintStatus.VALIDATION_FAILED,
        BlueprintStatus.READY,
        BlueprintStatus.DEPLOYED,
    }
)


def save_draft(
    *,
    caller: Caller,
    request: Mapping[str, Any],
    wizard_state: Mapping[str, Any] | None = None,
    template_version: TemplateVersion | None = None,
    blueprint: Blueprint | None = None,
) -> Blueprint:
    """Save what was sent so far, as a new draft or in ``blueprint``, which is a draft again.

    ``request`` may be incomplete: it is judged when it is validated. ``wizard_state`` and
    ``template_version`` stay as they are when they are not given.

    Raises:
        NotAllowed: the role does not include creating agents.
        NotFound: ``blueprint_not_found``; it is another organisation's.
        InvalidInput: the JSON is too large or holds what can't be stored.
        Conflict: ``blueprint_archived``, or ``too_many_drafts`` of this person.

    """
    caller.require(Action.CREATE_AGENTS)
    for name, value in (("request", request), ("wizard_state", wizard_state or {})):
        try:
            check_json_bounds(dict(value))
        except ValueError as error:
            raise InvalidInput.of_field(name, "invalid", str(error)) from None
    with transaction.atomic():
        if blueprint is None:
            return _new_draft(caller, request, wizard_state or {}, template_version)
        row = locked_blueprint(caller, blueprint)
        if row.status == BlueprintStatus.ARCHIVED:
            raise Conflict(
                "blueprint_archived", "This draft was put away. Start a new agent instead."
            )
        if row.status in _EDITABLE_TO_DRAFT:
            transition(row, to=BlueprintStatus.DRAFT, actor=caller.user, reason="Edited.")
        row.request = dict(request)
        row.name = _name_of(request)
        if wizard_state is not None:
            row.wizard_state = dict(wizard_state)
        if template_version is not None:
            row.template_version = template_version
        row.save(
            update_fields=["request", "name", "wizard_state", "template_version", "updated_at"]
        )
    return row


def _new_draft(
    caller: Caller,
    request: Mapping[str, Any],
    wizard_state: Mapping[str, Any],
    template_version: TemplateVersion | None,
) -> Blueprint:
    if open_drafts(caller=caller).count() >= MAX_OPEN_DRAFTS:
        raise Conflict(
            "too_many_drafts",
            f"You have {MAX_OPEN_DRAFTS} open drafts. Finish or delete some of them first.",
        )
    return Blueprint.objects.create(
        organization=caller.organization,
        template_version=template_version,
        name=_name_of(request),
        request=dict(request),
        wizard_state=dict(wizard_state),
        created_by=caller.user,
    )


def _name_of(request: Mapping[str, Any]) -> str:
    name = request.get("name", "")
    return " ".join(name.split())[:100] if isinstance(name, str) else ""


def open_drafts(*, caller: Caller) -> BlueprintQuerySet:
    """Return the caller's own blueprints that became no agent yet, newest first.

    Raises:
        NotAllowed: the role does not include viewing.

    """
    caller.require(Action.VIEW)
    return (
        Blueprint.objects.of(caller.organization)
        .filter(created_by=caller.user)
        .exclude(status__in=[BlueprintStatus.DEPLOYED, BlueprintStatus.ARCHIVED])
    )


def blueprint_for(caller: Caller, blueprint_id: UUID) -> Blueprint:
    """Return a blueprint of the caller's organisation.

    Raises:
        NotFound: ``blueprint_not_found``; another organisation's looks the same.

    """
    caller.require(Action.VIEW)
    found = (
        Blueprint.objects.of(caller.organization)
        .select_related("template_version__template", "agent")
        .filter(pk=blueprint_id)
        .first()
    )
    if found is None:
        raise NotFound("blueprint_not_found", "There is no such draft. Start a new agent instead.")
    return found


def archive_draft(*, caller: Caller, blueprint: Blueprint) -> None:
    """Put a blueprint away; putting it away twice does it once.

    Raises:
        NotAllowed: the role does not include creating agents.
        NotFound: ``blueprint_not_found``.

    """
    caller.require(Action.CREATE_AGENTS)
    with transaction.atomic():
        row = locked_blueprint(caller, blueprint)
        if row.status == BlueprintStatus.VALIDATING:
            transition(row, to=BlueprintStatus.DRAFT, actor=caller.user)
        if row.status != BlueprintStatus.ARCHIVED:
            transition(
                row, to=BlueprintStatus.ARCHIVED, actor=caller.user, updated_at=timezone.now()
            )
    blueprint.status = BlueprintStatus.ARCHIVED


def reopen_draft(
    *, caller: Caller, blueprint: Blueprint, wizard_state: Mapping[str, Any]
) -> Blueprint:
    """Discard the failed agent that was made from a blueprint, which is a draft again.

    All or nothing; the agent's name is free afterwards. Opening it twice does it once.

    Raises:
        DomainError: as ``discard_agent`` and ``save_draft``.

    """
    with transaction.atomic():
        row = locked_blueprint(caller, blueprint)
        if row.agent is None:
            return row
        discard_agent(caller=caller, agent=row.agent)
        audit.record(TAKEN_BACK, row.agent, actor=caller.user, detail={"draft": str(row.pk)})
        row.agent = None
        row.save(update_fields=["agent", "updated_at"])
        return save_draft(
            caller=caller, request=row.request, wizard_state=wizard_state, blueprint=row
        )
