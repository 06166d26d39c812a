"""What follows as one types."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.urls import reverse

from factory.models import Tier
from factory.templatetags.reading import readable
from registry.models import Agent
from registry.services.agents import reserve_agent
from templates_lib.enums import VersionStatus
from templates_lib.models import TemplateVersion
from tests.builders import make_spec
from tests.factory.walking import (
    SENTIMENT_OUTPUT,
    at_review,
    draft_of,
    draft_path,
    fill_basics,
    step_of,
    use_template,
)

if TYPE_CHECKING:
    from accounts.callers import Caller
    from tests.pages import Visitor

pytestmark = pytest.mark.django_db


# --- Fragments ------------------------------------------------------------------------------------


def test_the_checks_follow_what_is_typed(visitor: Visitor, caller: Caller) -> None:
    use_template(visitor)
    url = reverse("wizard-live", args=[draft_of(visitor).pk, "checks"])
    query = {"basics-name": "Customer Context Agent", "basics-tier": "3"}
    html = visitor.client.get(url, query).content.decode()
    assert "Agent ID is unique" in html
    assert "Name meets naming conventions" in html
    assert "Tier 3 quota available (0/10 used)" in html
    assert 'data-suggested-id="WowCustomerContext"' in html
    Tier.objects.filter(number=3).update(quota=0)
    assert "is full" in visitor.client.get(url, query).content.decode()
    bad = visitor.client.get(url, {"basics-name": "ok", "basics-agent_id": "9"}).content.decode()
    assert "Begin with a letter" in bad
    del caller


def test_a_taken_id_is_said_as_one_types_and_at_the_end(visitor: Visitor, caller: Caller) -> None:
    at_review(visitor)
    reserve_agent(caller=caller, spec=make_spec(agent_id="WowCustomerContext"))
    visitor.press("next")
    assert step_of(visitor) == "review"
    assert Agent.objects.of(caller.organization).count() == 1
    assert visitor.context["problems"][0].url.endswith("/basics?check=1")
    visitor.open(visitor.context["problems"][0].url)
    assert "already exists" in str(visitor.context["form"].errors["agent_id"])
    use_template(visitor)
    url = reverse("wizard-live", args=[draft_of(visitor).pk, "checks"])
    html = visitor.client.get(url, {"basics-name": "customer context"}).content.decode()
    assert "WowCustomerContext is taken" in html


def test_the_cost_follows_every_change(visitor: Visitor) -> None:
    fill_basics(use_template(visitor)).press("next")
    url = reverse("wizard-live", args=[draft_of(visitor).pk, "cost"])
    fields = visitor.form()["fields"] | {"resources-memory_mb": "4096"}
    html = visitor.client.get(url, fields).content.decode()
    assert "₹15,000" in html
    assert "₹10,000" in html
    assert "₹22,000" in html
    assert "Memory usage high for tier 3. Consider tier 4." in html
    unknown = visitor.client.get(url, fields | {"resources-memory_mb": "lots"}).content.decode()
    assert "₹" not in unknown


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (SENTIMENT_OUTPUT, "Valid schema: sentiment, confidence."),
        ('{"type": "object"}', "Valid schema: any fields."),
        ("{", "not valid JSON"),
        ('{"a": "nothing known"}', "is not a type"),
        ("   ", ""),
    ],
)
def test_a_schema_is_checked_as_it_is_typed(visitor: Visitor, text: str, sentence: str) -> None:
    response = visitor.client.post(
        reverse("wizard-schema"),
        {"capabilities-skills-0-input_schema": text},
        headers={"HX-Trigger-Name": "capabilities-skills-0-input_schema"},
    )
    assert response.status_code == 200
    assert sentence in response.content.decode()


def test_an_unknown_fragment_and_writing_to_one_are_refused(visitor: Visitor) -> None:
    use_template(visitor)
    draft = draft_of(visitor)
    assert visitor.open(reverse("wizard-live", args=[draft.pk, "nothing"])).status == 404
    assert visitor.client.post(reverse("wizard-live", args=[draft.pk, "cost"])).status_code == 405


# --- Choosing a template ----------------------------------------------------------------------


def test_searching_from_a_draft_answers_with_cards_that_can_be_used(visitor: Visitor) -> None:
    use_template(visitor)
    cards = {"HX-Target": "template-cards"}
    for path in (reverse("wizard-start"), draft_path("template")):
        found = visitor.client.get(path, {"q": "semantic"}, headers=cards)
        html = found.content.decode()
        assert "<html" not in html
        assert 'name="template-template"' in html
        assert 'value="memory-agent"' in html
        assert 'value="blank"' not in html


def test_the_filter_offers_only_what_some_template_has(visitor: Visitor) -> None:
    choices = visitor.open(reverse("wizard-start")).context["filter_form"].fields
    assert [value for value, _ in choices["category"].choices] == ["", "memory", "custom"]
    assert [value for value, _ in choices["complexity"].choices] == ["", "medium", "high"]
    assert [value for value, _ in choices["tier"].choices] == ["", "1", "3"]
    TemplateVersion.objects.filter(template__slug="blank").update(status=VersionStatus.DEPRECATED)
    choices = visitor.open(reverse("wizard-start")).context["filter_form"].fields
    assert [value for value, _ in choices["category"].choices] == ["", "memory"]


def test_the_preview_tells_all_of_a_template_in_words(visitor: Visitor) -> None:
    part = visitor.client.get(
        reverse("template", args=["memory-agent"]), headers={"HX-Target": "template-preview-body"}
    )
    html = part.content.decode()
    assert "<html" not in html
    for text in (
        "Stores and retrieves context with semantic search",
        "store, retrieve, search, summarize",
        "Redis, VectorDB, Embeddings API",
        "CPU 1 core, RAM 2 GB, storage 10 GB",
        "Best practices",
        "Examples",
        "1.0.0",
        "Changelog",
        "Use Template",
    ):
        assert text in html
    assert "[" not in html
    assert "{" not in html


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a [b]", "a [b]"),
        (["x", 2, None], "x, 2, nothing"),
        ([{"a": 1, "b": True}, {"a": 2}], "a: 1; b: yes; a: 2"),
        ({}, "nothing"),
        (False, "no"),
    ],
)
def test_values_are_written_for_people(value: object, text: str) -> None:
    assert readable(value) == text
