"""What keeps one on a step: every error that the end would tell, told where it is mended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.urls import reverse

from factory.models import Tier
from registry.services.agents import reserve_agent
from tests.builders import make_spec
from tests.factory.walking import (
    at_review,
    at_test_step,
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


def errors_of(visitor: Visitor, field: str) -> str:
    """Return what stands beside a field of the step that is shown."""
    return " ".join(visitor.context["form"].errors.get(field, ()))


def has_fold_open(visitor: Visitor, text: str) -> bool:
    """Return whether the fold whose summary begins with ``text`` is open."""
    return visitor.html.split(text)[0].rpartition("<details")[2].split(">")[0].endswith("open")


# --- Step 2 ---------------------------------------------------------------------------------------


def test_a_taken_id_and_a_full_tier_keep_one_on_the_basics(
    visitor: Visitor, caller: Caller
) -> None:
    reserve_agent(caller=caller, spec=make_spec(agent_id="WowCustomerContext"))
    Tier.objects.filter(number=3).update(quota=0)
    fill_basics(use_template(visitor), tags="y" * 41)
    assert (visitor.status, step_of(visitor)) == (200, "basics")
    assert "already exists" in errors_of(visitor, "agent_id")
    assert "Tier 3 is full" in errors_of(visitor, "tier")
    # What the compiler says is told in the same breath.
    assert "at most 40 characters" in errors_of(visitor, "tags")
    anchors = [field.anchor for field in visitor.context["form"].fields_in_error]
    assert anchors == ["id_basics-agent_id", "id_basics-tier_error", "id_basics-tags"]
    for anchor in anchors:
        assert f'href="#{anchor}"' in visitor.html
        assert f'id="{anchor}"' in visitor.html
    fill_basics(visitor, agent_id="WowAnother", tags="", tier="4")
    assert step_of(visitor) == "capabilities"


def test_a_name_that_is_missing_is_not_judged_by_a_stand_in(
    visitor: Visitor, caller: Caller
) -> None:
    reserve_agent(caller=caller, spec=make_spec(agent_id="WowSample"))
    fill_basics(use_template(visitor), name="")
    assert errors_of(visitor, "name") == "Give the agent a name."
    assert errors_of(visitor, "agent_id") == ""


# --- Step 3 ---------------------------------------------------------------------------------------


def test_all_that_is_wrong_with_a_new_capability_is_told_at_once(visitor: Visitor) -> None:
    fill_basics(use_template(visitor)).press("skills-add")
    visitor.press("next", {"capabilities-skills-4-name": "Bad Name"})
    assert (visitor.status, step_of(visitor)) == (200, "capabilities")
    row = visitor.context["form"].skills.forms[4]
    assert "small letters" in str(row.errors["name"])
    assert row.errors["description"] == [
        "Describe what it does, or give the model its instructions below."
    ]
    assert row.errors["input_schema"] == ["Add at least one field."]
    assert row.errors["output_schema"] == ["Add at least one field."]
    assert "Some fields need attention" in visitor.html
    assert ">Bad Name: Input schema</a>" in visitor.html
    assert 'id="id_capabilities-skills-4-input_schema_error"' in visitor.html
    assert has_fold_open(visitor, 'strong">Bad Name</span>')


def test_a_capability_left_as_it_was_added_is_asked_for(visitor: Visitor) -> None:
    fill_basics(use_template(visitor)).press("skills-add").press("next")
    assert (visitor.status, step_of(visitor)) == (200, "capabilities")
    assert visitor.context["form"].skills.forms[4].errors["name"] == [
        "Give the capability a name, as in analyze_sentiment."
    ]


def test_a_memory_that_capabilities_need_is_asked_for_on_its_step(visitor: Visitor) -> None:
    fill_basics(use_template(visitor, "blank")).press("skills-add")
    row = f"capabilities-skills-{len(visitor.context['form'].skills.forms) - 1}-"
    typed = {
        "name": "store_note",
        "input_schema": '{"text": "string"}',
        "output_schema": '{"id": "string"}',
        "kind": "builtin",
        "operation": "memory.store",
    }
    given = {row + key: value for key, value in typed.items()}
    visitor.press("next", given | {"capabilities-kind": "none"})
    assert step_of(visitor) == "capabilities"
    assert "needs a memory" in errors_of(visitor, "kind")


def test_what_a_tool_lacks_is_asked_for_by_its_label(visitor: Visitor) -> None:
    fill_basics(use_template(visitor))
    tools = visitor.context["form"].tools.forms
    place = next(n for n, form in enumerate(tools) if form["tool"].value() == "embeddings-api")
    visitor.press(f"tools-test:{place}")
    assert "also needs: Base URL, Model." in visitor.html
    visitor.press("next", {f"capabilities-tools-{place}-param_dimensions": "3"})
    errors = visitor.context["form"].tools.forms[place].errors
    assert set(errors) == {"param_base_url", "param_model"}
    assert "Fill this in" in str(errors["param_model"])


# --- Step 4 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"), [("memory_mb", "8192"), ("cpu_cores", "4"), ("storage_gb", "100")]
)
def test_resources_beyond_the_tier_keep_one_on_their_step(
    visitor: Visitor, field: str, value: str
) -> None:
    fill_basics(use_template(visitor)).press("next")
    visitor.press("next", {f"resources-{field}": value})
    assert (visitor.status, step_of(visitor)) == (200, "resources")
    assert "Tier 3 allows up to" in errors_of(visitor, field)


def test_a_warning_keeps_nobody(visitor: Visitor) -> None:
    at_test_step(visitor)
    # 4096 MB is high for tier 3, which the step says, and no more.
    assert step_of(visitor) == "test"


def test_an_error_in_the_folded_settings_opens_them_and_hides_no_other(visitor: Visitor) -> None:
    fill_basics(use_template(visitor)).press("next")
    assert not has_fold_open(visitor, "Advanced settings")
    typed = {"memory_mb": "8192", "cpu_cores": "5", "max_attempts": "11", "environment": "lower=1"}
    visitor.press("next", {f"resources-{key}": value for key, value in typed.items()})
    assert has_fold_open(visitor, "Advanced settings")
    assert errors_of(visitor, "cpu_cores") == "Choose 4 or less."
    assert errors_of(visitor, "max_attempts") == "Choose 10 or less."
    assert "capital letters" in errors_of(visitor, "environment")
    assert "Tier 3 allows up to 4096 MB" in errors_of(visitor, "memory_mb")
    for name in typed:
        assert f'href="#id_resources-{name}"' in visitor.html


# --- Steps 5 and 6 --------------------------------------------------------------------------------


def test_a_tier_that_was_lowered_later_closes_the_end_and_leads_to_what_to_mend(
    visitor: Visitor,
) -> None:
    at_review(visitor)
    visitor.open(draft_path("basics")).press("next", {"basics-tier": "1"})
    for path in (draft_path("test"), reverse("wizard-live", args=[draft_of(visitor).pk, "panel"])):
        visitor.open(path)
        assert "Ready to deploy" not in visitor.html
        assert "Not ready to deploy: mend the agent first." in visitor.html
        assert "Tier 1 allows up to" in visitor.html
        assert f'{draft_path("resources")}?check=1"' in visitor.html
    visitor.open(f"{draft_path('resources')}?check=1")
    assert "Tier 1 allows up to" in errors_of(visitor, "memory_mb")
    visitor.open(draft_path("test")).press("next")
    assert step_of(visitor) == "review"
    assert visitor.context["valid"] is False
