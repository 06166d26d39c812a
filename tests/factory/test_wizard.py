"""The wizard from end to end without scripts: what is kept, and what should not be."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest
from django.urls import reverse

from accounts.roles import Role
from factory.enums import BlueprintStatus
from factory.models import Blueprint
from provisioning.models import Deployment
from registry.models import Agent
from sandbox.models import Waiver
from templates_lib.models import TemplateVersion
from templates_lib.services import deprecate_version
from tests.builders import install, make_caller
from tests.factory.walking import (
    SENTIMENT_INPUT,
    SENTIMENT_OUTPUT,
    draft_of,
    draft_path,
    fill_basics,
    step_of,
    use_template,
)

if TYPE_CHECKING:
    from django.test import Client

    from accounts.callers import Caller
    from tests.pages import Visitor

pytestmark = pytest.mark.django_db


# --- The whole way, without scripts ---------------------------------------------------------------


def test_the_documents_agent_is_made_step_by_step_without_scripts(
    visitor: Visitor, caller: Caller
) -> None:
    use_template(visitor)
    assert step_of(visitor) == "basics"
    assert "Step 2 of 6" in visitor.html
    fill_basics(
        visitor,
        display_name="Customer Context Manager",
        description="Stores customer conversation history and preferences",
        tier="3",
        tags="customer, memory, sales",
    )
    assert step_of(visitor) == "capabilities"
    visitor.press("skills-add")
    row = "capabilities-skills-4-"
    visitor.press(
        "next",
        {
            f"{row}name": "analyze_sentiment",
            f"{row}description": "Analyze customer sentiment from conversation",
            f"{row}input_schema": SENTIMENT_INPUT,
            f"{row}output_schema": SENTIMENT_OUTPUT,
        },
    )
    assert step_of(visitor) == "resources"
    visitor.press("next", {"resources-memory_mb": "4096"})
    assert step_of(visitor) == "test"
    visitor.press("skip", {"test-skip_reason": "Shown in the browser test."}).press("next")
    assert step_of(visitor) == "review"
    assert "₹15,000" in visitor.html
    assert "Message queues (3)" in visitor.html
    assert "capabilities/analyze_sentiment.py" in visitor.html

    visitor.press("next")

    agent = Agent.objects.get()
    deployment = Deployment.objects.get()
    assert visitor.path == reverse("deployment", args=[deployment.pk])
    assert (agent.agent_id, agent.display_name) == (
        "WowCustomerContext",
        "Customer Context Manager",
    )
    assert (agent.tier, agent.tags) == (3, ["customer", "memory", "sales"])
    assert agent.organization == caller.organization
    spec = deployment.release.agent_spec()
    assert [capability.name for capability in spec.capabilities] == [
        "store_context",
        "retrieve_context",
        "search_context",
        "summarize_context",
        "analyze_sentiment",
    ]
    output = spec.capabilities[4].output_schema["properties"]
    assert output == {
        "sentiment": {"type": "string", "enum": ["positive", "neutral", "negative"]},
        "confidence": {"type": "number"},
    }
    assert (spec.resources.memory_mb, spec.resources.cpu_cores) == (4096, 1)
    assert deployment.monthly_cost_inr == 15000
    assert Waiver.objects.get().reason == "Shown in the browser test."


def test_start_from_blank(visitor: Visitor) -> None:
    use_template(visitor, "blank")
    fill_basics(visitor, name="Tiny Helper")
    assert step_of(visitor) == "capabilities"
    assert draft_of(visitor).template_version == TemplateVersion.objects.get(template__slug="blank")


# --- Nothing typed is lost ------------------------------------------------------------------------


def test_going_back_keeps_what_was_typed_even_if_it_is_not_valid(visitor: Visitor) -> None:
    fill_basics(use_template(visitor))
    visitor.press("goto:basics", {"capabilities-skills-0-input_schema": "{not json"})
    assert step_of(visitor) == "basics"
    assert 'value="Customer Context Agent"' in visitor.html
    visitor.press("next")
    assert "{not json" in visitor.form()["fields"]["capabilities-skills-0-input_schema"]
    assert "not valid JSON" not in visitor.html
    visitor.press("next")
    assert step_of(visitor) == "capabilities"
    assert "This is not valid JSON: line 1, column 2" in visitor.html


def test_save_reload_and_resume(visitor: Visitor) -> None:
    use_template(visitor).press("save", {"basics-name": "Half Done"})
    assert "Draft saved" in visitor.html
    path = visitor.path
    assert 'value="Half Done"' in visitor.open(path).html
    visitor.open(reverse("home"))
    assert "Half Done" in visitor.html
    draft = Blueprint.objects.get()
    visitor.open(reverse("wizard", args=[draft.pk]))
    assert visitor.path == path


def test_a_draft_is_resumed_where_it_was_left_after_signing_in_again(
    visitor: Visitor, caller: Caller
) -> None:
    fill_basics(use_template(visitor)).press("save", {"capabilities-retention_days": "77"})
    draft = draft_of(visitor)
    visitor.client.logout()
    assert caller.user is not None
    visitor.client.force_login(caller.user)
    visitor.open(reverse("wizard", args=[draft.pk]))
    assert step_of(visitor) == "capabilities"
    assert visitor.form()["fields"]["capabilities-retention_days"] == "77"


def test_autosave_keeps_the_page_and_answers_nothing(visitor: Visitor) -> None:
    use_template(visitor)
    response = visitor.client.post(visitor.path, {"do": "autosave", "basics-name": "As Typed"})
    assert (response.status_code, response.content) == (204, b"")
    assert 'value="As Typed"' in visitor.open(visitor.path).html


def test_cancel_keeps_the_draft_and_discard_puts_it_away(visitor: Visitor) -> None:
    use_template(visitor).press("cancel", {"basics-name": "Maybe Later"})
    assert visitor.path == reverse("home")
    draft = Blueprint.objects.get()
    visitor.client.post(reverse("draft-discard", args=[draft.pk]))
    draft.refresh_from_db()
    assert draft.status == BlueprintStatus.ARCHIVED
    assert "Your drafts" not in visitor.open(reverse("home")).html
    assert visitor.open(reverse("wizard", args=[draft.pk])).status == 404


def test_two_tabs_are_two_drafts(visitor: Visitor) -> None:
    use_template(visitor).press("save", {"basics-name": "First Tab"})
    first = visitor.path
    use_template(visitor).press("save", {"basics-name": "Second Tab"})
    assert visitor.path != first
    assert 'value="First Tab"' in visitor.open(first).html


def test_another_template_keeps_the_basics_and_drops_the_rest(visitor: Visitor) -> None:
    fill_basics(use_template(visitor)).press("next")
    draft = draft_of(visitor)
    visitor.open(reverse("wizard-step", args=[draft.pk, "template"]))
    visitor.press("blank", form=f"/{draft.pk}/template", name="template-template")
    assert step_of(visitor) == "basics"
    draft.refresh_from_db()
    assert draft.template_version is not None
    assert draft.template_version.template.slug == "blank"
    assert set(draft.wizard_state["step_data"]) == {"template", "basics"}


# --- What should not be ---------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["capabilities", "resources", "test", "review"])
def test_a_step_cannot_be_reached_before_those_before_it(visitor: Visitor, step: str) -> None:
    use_template(visitor)
    visitor.open(draft_path(step))
    assert step_of(visitor) == "basics"
    assert "Finish “Configure Basics” first." in visitor.html


def test_posting_to_review_does_not_jump_over_steps(visitor: Visitor) -> None:
    use_template(visitor)
    response = visitor.client.post(draft_path("review"), {"do": "next"}, follow=True)
    assert response.redirect_chain[-1][0].endswith("/basics?check=1")
    assert not Agent.objects.exists()


def test_an_unknown_step_leads_back_and_done_does_nothing(visitor: Visitor) -> None:
    use_template(visitor)
    for step in ("done", "nowhere"):
        assert step_of(visitor.open(draft_path(step))) == "basics"
    assert visitor.client.post(draft_path("done"), {"do": "next"}).status_code == 404


def test_a_withdrawn_template_leads_back_to_choosing(visitor: Visitor) -> None:
    fill_basics(use_template(visitor))
    draft = draft_of(visitor)
    assert draft.template_version is not None
    deprecate_version(actor=None, version=draft.template_version)
    visitor.open(reverse("wizard-step", args=[draft.pk, "capabilities"]))
    assert step_of(visitor) == "template"
    assert "was withdrawn" in visitor.html
    visitor.press("blank", form=f"/{draft.pk}/template", name="template-template")
    assert 'value="Customer Context Agent"' in visitor.html


def test_an_unknown_template_is_refused_in_words(visitor: Visitor) -> None:
    response = visitor.client.post(
        reverse("wizard-start"), {"template-template": "no-such"}, follow=True
    )
    assert "There is no template" in response.content.decode()
    assert not Blueprint.objects.exists()


def test_a_tampered_state_is_no_error(visitor: Visitor) -> None:
    fill_basics(use_template(visitor))
    draft = draft_of(visitor)
    path = visitor.path
    for state in (
        {"step": "nowhere"},
        {"step": "review", "step_data": {"basics": {"basics-tier": ["99"]}}},
        {"step_data": {"capabilities": {"capabilities-skills-TOTAL_FORMS": ["-7"]}}},
        {"step_data": {"capabilities": {"capabilities-skills-TOTAL_FORMS": ["999999999"]}}},
    ):
        Blueprint.objects.filter(pk=draft.pk).update(wizard_state=state)
        assert visitor.open(path).status == 200
        assert visitor.open(reverse("wizard", args=[draft.pk])).status == 200


def test_anothers_draft_is_not_found(visitor: Visitor, client: Client, caller: Caller) -> None:
    use_template(visitor)
    path = visitor.path
    for other in (make_caller(Role.ADMIN, caller.organization), make_caller(Role.ADMIN)):
        assert other.user is not None
        client.force_login(other.user)
        assert client.get(path).status_code == 404
        assert client.post(path, {"do": "next"}).status_code == 404
    assert client.get(reverse("wizard", args=[uuid.uuid4()])).status_code == 404


def test_a_viewer_may_not_open_the_wizard(client: Client) -> None:
    install()
    viewer = make_caller(Role.VIEWER)
    assert viewer.user is not None
    client.force_login(viewer.user)
    response = client.get(reverse("wizard-start"))
    assert response.status_code == 403
    assert "Ask an admin" in response.content.decode()
