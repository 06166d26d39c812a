"""Drafts: blueprints that the wizard is filling in. What was typed lives in the row.

The address names the draft, so two tabs are two drafts (or the same one, on purpose), and signing
in again, on another machine even, goes on where it was left.
"""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from accounts.callers import Caller
from accounts.roles import Action
from factory.enums import BlueprintStatus
from factory.models import Blueprint
from factory.services import blueprints
from factory.wizard import steps
from ledger.errors import NotFound
from templates_lib.models import TemplateVersion
from templates_lib.services import template_for


def empty_state(step: str = steps.TEMPLATE) -> dict[str, Any]:
    """Return the state of a wizard in which nothing was typed."""
    return {"step": step, "step_data": {}, "step_files": {}, "extra_data": {}}


def wizard_drafts(caller: Caller) -> QuerySet[Blueprint]:
    """Return the caller's own unfinished drafts of the wizard, newest first."""
    return (
        blueprints.open_drafts(caller=caller)
        .exclude(wizard_state={})
        .filter(agent=None)
        .select_related("template_version__template")
    )


def start_draft(*, caller: Caller, template: str) -> Blueprint:
    """Open a draft from the newest published version of ``template``.

    Raises:
        NotAllowed: the role does not include making agents.
        NotFound: there is no such published template.
        Conflict: the caller has too many open drafts.

    """
    row, version = template_for(template)
    state = empty_state(steps.BASICS)
    state["step_data"][steps.TEMPLATE] = {f"{steps.TEMPLATE}-template": [row.slug]}
    return blueprints.save_draft(
        caller=caller,
        request={"template_id": row.slug},
        wizard_state=state,
        template_version=version,
    )


def draft_for(caller: Caller, draft_id: UUID, *, lock: bool = False) -> Blueprint:
    """Return the caller's own draft; one that became an agent still answers.

    Raises:
        NotFound: ``draft_not_found``.

    """
    caller.require(Action.CREATE_AGENTS)
    drafts = Blueprint.objects.of(caller.organization).filter(created_by=caller.user)
    if lock:
        drafts = drafts.select_for_update(of=("self",))
    draft = drafts.select_related("template_version__template", "agent").filter(pk=draft_id).first()
    if draft is None or draft.status == BlueprintStatus.ARCHIVED:
        raise NotFound(
            "draft_not_found", "This draft does not exist any more. Start a new agent instead."
        )
    return draft


def choose_template(draft: Blueprint, state: dict[str, Any], version: TemplateVersion) -> None:
    """Put the draft on another template; what came from the old one is forgotten."""
    previous = draft.template_version
    if previous is None or previous.template_id != version.template_id:
        for step in (steps.CAPABILITIES, steps.RESOURCES, steps.TEST):
            state["step_data"].pop(step, None)
        state["extra_data"] = {}
    draft.template_version = version


def keep_draft(*, caller: Caller, draft: Blueprint, state: dict[str, Any]) -> None:
    """Write what was typed.

    Raises:
        InvalidInput: it is too large to keep.

    """
    basics = state["step_data"].get(steps.BASICS) or {}
    name = (basics.get(f"{steps.BASICS}-name") or [""])[-1].replace("\x00", "")
    slug = draft.template_version.template.slug if draft.template_version else ""
    blueprints.save_draft(
        caller=caller,
        request={"template_id": slug, "name": name},
        wizard_state=state,
        template_version=draft.template_version,
        blueprint=draft,
    )
