"""Drafts: saved, resumed, put away; and what there is to choose from."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.roles import Role
from factory.models import Blueprint, Tier
from factory.services import blueprints
from factory.services.blueprints import (
    archive_draft,
    blueprint_for,
    create_agent,
    open_drafts,
    reopen_draft,
    save_draft,
)
from factory.services.catalog import template_list, tier_usage
from ledger.errors import Conflict, InvalidInput, NotAllowed, NotFound
from ledger.transitions import transition
from provisioning.enums import DeploymentStatus
from registry.models import Agent
from registry.services.agents import reserve_agent
from templates_lib.catalogue import TemplateFilter
from templates_lib.services import template_for
from tests.builders import install, make_caller, make_request, make_spec

pytestmark = pytest.mark.django_db


def test_a_draft_is_saved_and_resumed() -> None:
    install()
    caller = make_caller()
    version = template_for("memory-agent")[1]

    draft = save_draft(
        caller=caller,
        request={"name": " My \n Agent ", "tier": 3},
        wizard_state={"step": 2},
        template_version=version,
    )
    resumed = blueprint_for(caller, draft.pk)

    assert (resumed.name, resumed.status, resumed.template_version) == (
        "My Agent",
        "draft",
        version,
    )
    assert (resumed.request["tier"], resumed.wizard_state) == (3, {"step": 2})
    assert list(open_drafts(caller=caller)) == [draft]


@pytest.mark.parametrize(
    "status", ["draft", "validating", "validation_failed", "ready", "deployed"]
)
def test_an_edit_leads_back_to_draft_and_keeps_what_is_not_given(status: str) -> None:
    caller = make_caller()
    draft = save_draft(caller=caller, request={"name": "One"}, wizard_state={"step": 2})
    Blueprint.objects.filter(pk=draft.pk).update(status=status)

    edited = save_draft(caller=caller, request={"name": 5}, blueprint=draft)

    edited.refresh_from_db()
    assert (edited.status, edited.name, edited.wizard_state) == ("draft", "", {"step": 2})
    assert Blueprint.objects.count() == 1


@pytest.mark.parametrize(
    "bad", [{"request": {"a": "\x00"}}, {"request": {}, "wizard_state": {"a": float("nan")}}]
)
def test_what_can_not_be_stored_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        save_draft(caller=make_caller(), **bad)


@pytest.mark.parametrize("status", ["draft", "validating", "validation_failed", "ready"])
def test_a_draft_is_put_away(status: str) -> None:
    caller = make_caller()
    draft = save_draft(caller=caller, request={})
    Blueprint.objects.filter(pk=draft.pk).update(status=status)

    archive_draft(caller=caller, blueprint=draft)
    archive_draft(caller=caller, blueprint=draft)

    assert not open_drafts(caller=caller).exists()
    with pytest.raises(Conflict) as caught:
        save_draft(caller=caller, request={}, blueprint=draft)
    assert caught.value.code == "blueprint_archived"


def test_a_person_has_a_bounded_number_of_drafts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blueprints, "MAX_OPEN_DRAFTS", 1)
    caller = make_caller()
    save_draft(caller=caller, request={})
    with pytest.raises(Conflict) as caught:
        save_draft(caller=caller, request={})
    assert caught.value.code == "too_many_drafts"
    save_draft(caller=make_caller(organization=caller.organization), request={})


def test_another_organisation_sees_and_changes_nothing() -> None:
    draft = save_draft(caller=make_caller(), request={})
    stranger = make_caller()

    assert not open_drafts(caller=stranger).exists()
    for attempt in (
        lambda: blueprint_for(stranger, draft.pk),
        lambda: blueprint_for(stranger, uuid4()),
        lambda: save_draft(caller=stranger, request={}, blueprint=draft),
        lambda: archive_draft(caller=stranger, blueprint=draft),
    ):
        with pytest.raises(NotFound) as caught:
            attempt()
        assert caught.value.code == "blueprint_not_found"


def test_drafting_needs_a_role() -> None:
    owner = make_caller()
    draft = save_draft(caller=owner, request={})
    viewer = make_caller(Role.VIEWER, owner.organization)
    with pytest.raises(NotAllowed):
        save_draft(caller=viewer, request={})
    with pytest.raises(NotAllowed):
        archive_draft(caller=viewer, blueprint=draft)
    assert blueprint_for(viewer, draft.pk) == draft


# --- The catalogue ----------------------------------------------------------------------------


def test_tiers_tell_what_is_used_of_them() -> None:
    install()
    caller = make_caller()
    Tier.objects.filter(number=1).update(quota=1)
    reserve_agent(caller=caller, spec=make_spec(tier=1))
    reserve_agent(caller=make_caller(), spec=make_spec(tier=2))

    with CaptureQueriesContext(connection) as queries:
        found = {usage.tier.number: usage for usage in tier_usage(caller=caller)}

    assert len(queries) == 2
    assert [usage.label for usage in found.values()] == ["1/1", "0/10", "0/10", "0/10", "0/10"]
    assert [number for number, usage in found.items() if usage.is_full] == [1]


def test_templates_come_with_their_use() -> None:
    install()
    caller = make_caller()
    reserve_agent(caller=caller, spec=make_spec())

    cards = {card.template.slug: card for card in template_list(caller=caller)}
    [memory] = template_list(caller=caller, wanted=TemplateFilter(category="memory"))

    assert {slug: card.usage_count for slug, card in cards.items()} == {
        "memory-agent": 0,
        "blank": 1,
    }
    assert memory.definition.tier_recommendation == 3


def test_a_draft_is_opened_again_once() -> None:
    install()
    caller = make_caller()
    agent, deployment = create_agent(
        caller=caller, request=make_request(), skip_test_reason="Only its draft matters."
    )
    blueprint = Blueprint.objects.get()
    with pytest.raises(NotFound):
        reopen_draft(caller=make_caller(), blueprint=blueprint, wizard_state={})
    transition(deployment, to=DeploymentStatus.PROVISIONING)
    with pytest.raises(Conflict):
        reopen_draft(caller=caller, blueprint=blueprint, wizard_state={})
    transition(deployment, to=DeploymentStatus.ROLLING_BACK)
    transition(deployment, to=DeploymentStatus.FAILED)
    blueprint.refresh_from_db()
    assert (blueprint.agent, blueprint.status) == (agent, "deployed")

    for attempt in (1, 2):
        reopen_draft(caller=caller, blueprint=blueprint, wizard_state={"attempt": attempt})

    blueprint.refresh_from_db()
    assert (blueprint.agent, blueprint.status) == (None, "draft")
    assert blueprint.wizard_state == {"attempt": 1}
    assert not Agent.objects.present().exists()
