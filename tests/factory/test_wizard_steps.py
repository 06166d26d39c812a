"""Each step's fields, errors and rows."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection
from django.forms import CharField
from django.test import Client

from factory.models import Blueprint, Tier
from factory.wizard import tool_buttons
from factory.wizard.forms import testing
from factory.wizard.forms.base import StepContext
from factory.wizard.forms.basics import BasicsForm
from factory.wizard.forms.capabilities import CapabilitiesForm, CapabilityForm
from factory.wizard.forms.resources import ResourcesForm
from registry.models import Secret
from registry.services.agents import reserve_agent
from registry.services.tools import test_tool as tool_service
from tests.builders import make_spec
from tests.factory.walking import (
    draft_of,
    draft_path,
    fill_basics,
    step_of,
    use_template,
)
from tests.running import impatient

if TYPE_CHECKING:
    from accounts.callers import Caller
    from registry.tool_checks import ToolCheck
    from tests.pages import Visitor

pytestmark = pytest.mark.django_db


# --- Each step's errors ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("name", "", "Give the agent a name."),
        ("name", "x" * 101, "at most 100 characters"),
        ("agent_id", "9 lives", "Begin with a letter"),
        ("agent_id", "ab", "3 to 64"),
        ("description", "x" * 201, "at most 200 characters"),
        ("tier", "9", "Select a valid choice"),
        ("tags", "y" * 41, "at most 40 characters"),
        ("languages", "english please", "Give a language code"),
        ("goal", "g" * 2001, "at most 2000 characters"),
    ],
)
def test_basics_say_what_is_wrong_beside_the_field(
    visitor: Visitor, field: str, value: str, sentence: str
) -> None:
    fill_basics(use_template(visitor), **{field: value})
    assert (visitor.status, step_of(visitor)) == (200, "basics")
    errors = " ".join(visitor.context["form"].errors[field])
    assert sentence in errors
    assert "aria-invalid" in visitor.html or field == "tier"


def test_every_field_says_what_to_do_when_it_is_left_empty(caller: Caller) -> None:
    context = StepContext(caller=caller, definition=None)
    steps = (BasicsForm, CapabilitiesForm, ResourcesForm, testing.TestForm)
    asked = [
        *(step(context=context) for step in steps),
        CapabilityForm(context=context),
        testing.ScenarioForm(),
    ]
    default = CharField.default_error_messages["required"]
    silent = [
        f"{type(form).__name__}.{name}"
        for form in asked
        for name, field in form.fields.items()
        if field.required and field.error_messages["required"] == default
    ]
    assert silent == []


@pytest.mark.parametrize("name", ['Quote " Agent', "Line\nbreak", "{{ braces }}", "Emoji 🤖 Agent"])
def test_a_hostile_name_is_shown_and_stays_data(visitor: Visitor, name: str) -> None:
    fill_basics(use_template(visitor), name=name)
    assert visitor.status == 200
    assert step_of(visitor) in ("basics", "capabilities")


@pytest.mark.parametrize(
    ("typed", "where", "sentence"),
    [
        ({"name": "Not A Name"}, "name", "small letters"),
        ({"name": "retrieve_context"}, "name", "twice"),
        ({"input_schema": "[1]"}, "input_schema", "Write an object"),
        ({"input_schema": '{"a": "colour"}'}, "input_schema", "is not a type"),
        ({"output_schema": '{"type": "object", "required": 3}'}, "output_schema", "valid JSON Sch"),
        ({"input_schema": "[" * 90_000}, "input_schema", "less deep"),
        ({"timeout_seconds": "0"}, "timeout_seconds", "Choose 0.1 or more."),
        ({"timeout_seconds": "601"}, "timeout_seconds", "Choose 600 or less."),
        ({"kind": "http"}, "url", "Give the address"),
        ({"kind": "builtin", "operation": ""}, "operation", "Choose what the runtime does"),
        ({"kind": "http", "url": "ftp://x"}, "url", "http"),
        ({"examples": '[{"input": 1}]'}, "examples", ""),
    ],
)
def test_a_capability_says_what_is_wrong(
    visitor: Visitor, typed: dict[str, str], where: str, sentence: str
) -> None:
    fill_basics(use_template(visitor))
    visitor.press("next", {f"capabilities-skills-3-{key}": value for key, value in typed.items()})
    assert (visitor.status, step_of(visitor)) == (200, "capabilities")
    skills = visitor.context["form"].skills
    found = str(skills.forms[3].errors.get(where, "")) + str(skills.non_form_errors())
    assert sentence in found
    assert found
    assert "Needs attention" in visitor.html or "twice" in visitor.html


def test_without_capabilities_there_is_no_agent(visitor: Visitor) -> None:
    fill_basics(use_template(visitor))
    for _ in range(4):
        visitor.press("skills-remove:0")
    assert "No capabilities yet" in visitor.html
    visitor.press("next")
    assert "Add at least one capability." in visitor.html


def test_a_required_capability_is_asked_for(visitor: Visitor) -> None:
    fill_basics(use_template(visitor))
    visitor.press("skills-remove:0").press("next")
    assert "store_context" in str(visitor.context["form"].non_field_errors())
    visitor.press("skills-add:store_context").press("next")
    assert step_of(visitor) == "resources"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cpu_cores", "0.4"), ("cpu_cores", "4.1"), ("cpu_cores", "many"), ("memory_mb", "511"),
        ("memory_mb", "8193"), ("storage_gb", "0"), ("storage_gb", "101"),
        ("max_concurrency", "51"), ("priority", "URGENT"), ("max_attempts", "11"),
        ("operation_seconds", "601"), ("workflow_seconds", "0"), ("rate_limit_per_minute", "0"),
        ("environment", "NO_EQUALS_SIGN"), ("environment", "lower=1"),
        ("environment", "API_TOKEN=abc"), ("packages", "https://example.com/x.whl"),
    ],
)  # fmt: skip
def test_resources_outside_their_bounds_are_said_beside_the_field(
    visitor: Visitor, field: str, value: str
) -> None:
    fill_basics(use_template(visitor)).press("next")
    visitor.press("next", {f"resources-{field}": value})
    assert (visitor.status, step_of(visitor)) == (200, "resources")
    assert visitor.context["form"].errors[field]


def test_memory_is_told_in_gigabytes_too(visitor: Visitor) -> None:
    fill_basics(use_template(visitor)).press("next")
    assert "<span data-gigabytes>= 2 GB</span>" in visitor.html
    visitor.press("save", {"resources-memory_mb": "1536"})
    assert "<span data-gigabytes>= 1.5 GB</span>" in visitor.html
    visitor.press("next", {"resources-memory_mb": "4"})
    assert "<span data-gigabytes></span>" in visitor.html
    assert "Give at least 512 MB. For 2 GB, write 2048." in visitor.html


def test_a_tier_that_is_too_small_is_not_offered_as_if_it_fitted(visitor: Visitor) -> None:
    fill_basics(use_template(visitor)).press("next")
    Tier.objects.filter(number=2).update(max_memory_mb=4096, max_cpu_cores=1)
    typed = {"resources-memory_mb": "4608", "resources-cpu_cores": "1.5"}
    visitor.press("save", typed)
    exceeded = {price.number: price.exceeded for price in visitor.context["tier_prices"]}
    assert exceeded == {2: "1 core and 4 GB of memory", 3: "4 GB of memory", 4: ""}
    assert "Too small: up to 1 core and 4 GB of memory" in visitor.html


def test_environment_and_packages_reach_the_specification(visitor: Visitor) -> None:
    fill_basics(use_template(visitor)).press("next")
    visitor.press(
        "next",
        {
            "resources-environment": "LOG_LEVEL=debug\nMODE = a=b",
            "resources-packages": "python-dateutil==2.9.0",
        },
    )
    spec = visitor.context["spec"]
    assert [(item.name, item.value) for item in spec.environment] == [
        ("LOG_LEVEL", "debug"),
        ("MODE", "a=b"),
    ]
    assert spec.packages == ("python-dateutil==2.9.0",)


# --- Rows -----------------------------------------------------------------------------------------


def test_capabilities_move_up_and_down(visitor: Visitor) -> None:
    fill_basics(use_template(visitor))

    def names() -> list[str]:
        return [form["name"].value() for form in visitor.context["form"].skills.forms]

    before = names()
    visitor.press("skills-down:0")
    assert names() == [before[1], before[0], *before[2:]]
    visitor.press("skills-up:3")
    assert names()[2] == before[3]
    visitor.press("skills-remove:1")
    assert before[0] not in names()


def test_nonsense_in_a_button_changes_nothing(visitor: Visitor) -> None:
    fill_basics(use_template(visitor))
    fields = visitor.form()["fields"]
    for button in ("skills-remove:99", "skills-up:-1", "skills-down:²", "skills-spin:0", "x" * 900):
        response = visitor.client.post(visitor.path, {**fields, "do": button}, follow=True)
        assert response.status_code == 200
    visitor.open(draft_path("capabilities"))
    assert len(visitor.context["form"].skills.forms) == 4


def test_tools_are_added_tested_and_removed(visitor: Visitor) -> None:
    fill_basics(use_template(visitor))
    visitor.press("tools-add", {"add_tool": "http-api"})
    slugs = [form["tool"].value() for form in visitor.context["form"].tools.forms]
    assert slugs[-1] == "http-api"
    place = len(slugs) - 1
    visitor.press(f"tools-test:{place}")
    assert "also needs: Base URL." in visitor.html
    visitor.press("next", {f"capabilities-tools-{place}-param_base_url": "not an address"})
    assert "begins with https://" in str(visitor.context["form"].tools.forms[place].errors)
    visitor.press(f"tools-remove:{place}").press("next")
    assert step_of(visitor) == "resources"


def states(visitor: Visitor) -> dict[str, tuple[str, str]]:
    rows = visitor.context["tool_rows"]
    return {row["form"].title: (row["state"].tone, row["state"].label) for row in rows}


def test_the_platforms_redis_is_connected_for_real(visitor: Visitor) -> None:
    fill_basics(use_template(visitor))
    assert states(visitor) == {
        "Redis": ("info", "Provided when deployed"),
        "VectorDB": ("info", "Provided when deployed"),
        "Embeddings API": ("", "Not set up"),
    }
    visitor.press("tools-test:0")
    assert states(visitor)["Redis"] == ("ok", "Connected")


@pytest.mark.django_db(transaction=True)
def test_the_draft_can_be_written_while_a_connection_is_tested(
    visitor: Visitor, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_basics(use_template(visitor))
    path, fields = visitor.path, visitor.form()["fields"]
    testing_it, go_on = threading.Event(), threading.Event()
    real = tool_service

    def slowly(**given: Any) -> ToolCheck:
        testing_it.set()
        assert go_on.wait(60)
        return real(**given)

    def press() -> None:
        client = Client()
        assert caller.user is not None
        client.force_login(caller.user)
        client.post(path, {**fields, "do": "tools-test:0"})
        connection.close()

    monkeypatch.setattr(tool_buttons, "test_tool", slowly)
    presser = threading.Thread(target=press)
    presser.start()
    assert testing_it.wait(60)
    with impatient():
        description = next(name for name in fields if name.endswith("skills-0-description"))
        visitor.press("save", {description: "Typed meanwhile."})
    go_on.set()
    presser.join(60)
    visitor.open(path)
    assert states(visitor)["Redis"] == ("ok", "Connected")
    assert visitor.form()["fields"][description].strip() == "Typed meanwhile."


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("ends", ["archived", "deployed"])
def test_a_draft_that_ended_while_a_connection_was_tested_stays_as_it_is(
    visitor: Visitor, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    fill_basics(use_template(visitor))
    draft = draft_of(visitor)
    real = tool_service

    def meanwhile(**given: Any) -> ToolCheck:
        if ends == "archived":
            Blueprint.objects.filter(pk=draft.pk).update(status="archived")
        else:
            agent = reserve_agent(caller=given["caller"], spec=make_spec())
            Blueprint.objects.filter(pk=draft.pk).update(status="deployed", agent=agent)
        return real(**given)

    monkeypatch.setattr(tool_buttons, "test_tool", meanwhile)
    before = visitor.form()["fields"]
    answer = visitor.client.post(visitor.path, {**before, "do": "tools-test:0"})
    assert answer.status_code == 302
    row = Blueprint.objects.get(pk=draft.pk)
    assert row.status == ends
    assert "tool_checks" not in row.wizard_state["extra_data"]


def test_a_connection_test_counts_for_the_values_that_it_was_made_with(visitor: Visitor) -> None:
    fill_basics(use_template(visitor))
    row = "capabilities-tools-2-param_"
    # A port that nothing listens on.
    typed = {f"{row}base_url": "https://127.0.0.1:9/v1", f"{row}model": "m"}
    visitor.press("save", typed)
    assert states(visitor)["Embeddings API"] == ("warn", "Not complete")
    assert "without them, search goes by words" in visitor.html
    visitor.press("save", {f"{row}dimensions": "8"})
    assert states(visitor)["Embeddings API"] == ("warn", "Not tested")
    visitor.press("tools-test:2")
    assert states(visitor)["Embeddings API"] == ("bad", "Not connected")
    visitor.press("save", {f"{row}model": "another"})
    assert states(visitor)["Embeddings API"] == ("warn", "Not tested")


def test_a_prompt_without_a_model_is_said_where_it_is_made(visitor: Visitor) -> None:
    fill_basics(use_template(visitor))
    assert "No model is connected." not in visitor.html
    visitor.press("skills-add")
    assert visitor.context["without_model"] == ["The new capability"]
    assert "No model is connected." in visitor.html
    visitor.press("tools-add:chat-model")
    assert visitor.context["model_place"] == 3
    row = "capabilities-tools-3-param_"
    visitor.press("save", {f"{row}base_url": "https://models.example/v1", f"{row}model": "m"})
    assert visitor.context["without_model"] == []
    assert "No model is connected." not in visitor.html


def test_a_secret_is_kept_by_name_and_its_value_nowhere_else(
    visitor: Visitor, caller: Caller
) -> None:
    fill_basics(use_template(visitor))
    visitor.press("secret-add", {"secret_name": "emb-key", "secret_value": "canary-7141"})
    assert Secret.objects.get().organization == caller.organization
    assert "canary-7141" not in visitor.html
    assert "canary-7141" not in str(draft_of(visitor).wizard_state)
    assert '<option value="emb-key">' in visitor.html


def test_a_secret_without_a_name_is_refused_in_words(visitor: Visitor) -> None:
    fill_basics(use_template(visitor))
    visitor.press("secret-add", {"secret_name": "", "secret_value": "canary-7142"})
    assert not Secret.objects.exists()
    assert 'class="notice bad"' in visitor.html
    assert "canary-7142" not in visitor.html
