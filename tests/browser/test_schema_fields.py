"""The list of fields over a capability's schemas, in Chromium."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from django.urls import reverse
from playwright.sync_api import Locator, expect

from factory.wizard.drafts import keep_draft, start_draft
from tests.browser.driving import NARROW, WIDE

if TYPE_CHECKING:
    from tests.browser.driving import Person

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]


@pytest.fixture
def row(person: Person) -> Locator:
    """A capability that was just added, open."""
    draft = start_draft(caller=person.caller, template="memory-agent")
    draft.wizard_state["step_data"]["basics"] = {
        "basics-name": ["Field List"],
        "basics-tier": ["3"],
    }
    keep_draft(caller=person.caller, draft=draft, state=draft.wizard_state)
    page = person.open(reverse("wizard-step", args=[draft.pk, "capabilities"]))
    page.get_by_role("button", name="Add Capability").click()
    return page.locator("#skill-4")


def add_field(row: Locator, name: str, kind: str = "Text") -> None:
    row.get_by_role("button", name="Add field to the input schema").click()
    expect(row.get_by_label("Name of field").last).to_be_focused()
    row.get_by_label("Name of field").last.fill(name)
    row.get_by_label("Type of field").last.select_option(kind)


def schema(row: Locator) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(row.get_by_label("Input schema", exact=True).input_value())
    return found


def test_a_schema_is_written_as_a_list_of_fields(row: Locator, person: Person) -> None:
    expect(row.get_by_label("Input schema", exact=True)).to_be_hidden()
    add_field(row, "text")
    row.get_by_label("Description of field 1").fill("What was said")
    add_field(row, "mood", "Choice")
    row.get_by_label("Choices of field 2").fill("good, bad, good")
    for name, kind in (
        ("tags", "List of texts"),
        ("age", "Whole number"),
        ("score", "Number"),
        ("is_new", "Yes or no"),
    ):
        add_field(row, name, kind)
    row.get_by_label("Required").nth(3).uncheck()
    add_field(row, "mistake")
    row.get_by_role("button", name="Remove field 7").click()
    assert schema(row) == {
        "type": "object",
        "properties": {
            "text": {"type": "string", "description": "What was said"},
            "mood": {"type": "string", "enum": ["good", "bad"]},
            "tags": {"type": "array", "items": {"type": "string"}},
            "age": {"type": "integer"},
            "score": {"type": "number"},
            "is_new": {"type": "boolean"},
        },
        "required": ["text", "mood", "tags", "score", "is_new"],
        "additionalProperties": False,
    }
    expect(row).to_contain_text("Valid schema: text, mood, tags, age, score, is_new.")
    add_field(row, "text")
    expect(row).to_contain_text("“text” is there twice. Rename one.")
    row.get_by_label("Name of field 7").fill("note")
    expect(row).not_to_contain_text("is there twice")
    for scheme in ("light", "dark"):
        person.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        for size in (WIDE, NARROW):
            person.page.set_viewport_size(size)
            assert person.violations() == []
            assert person.page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    assert person.serious_complaints() == []


def test_json_and_the_list_say_the_same(row: Locator) -> None:
    area = row.get_by_label("Input schema", exact=True)
    row.get_by_role("button", name="Edit as JSON (input schema)").click()
    kept = {
        "type": "object",
        "properties": {
            "text": {"type": "string", "minLength": 1},
            "metadata": {"type": "object", "additionalProperties": True},
        },
        "required": ["text"],
    }
    area.fill(json.dumps(kept))
    row.get_by_role("button", name="Edit as fields (input schema)").click()
    expect(row.get_by_label("Name of field 2")).to_have_value("metadata")
    expect(row.get_by_label("Type of field 2")).to_have_value("other")
    expect(row).to_contain_text("minLength 1")
    row.get_by_label("Name of field 1").fill("message")
    kept["properties"] = {
        "message": {"type": "string", "minLength": 1},
        "metadata": {"type": "object", "additionalProperties": True},
    }
    assert schema(row) == {**kept, "required": ["message"]}

    row.get_by_role("button", name="Edit as JSON (input schema)").click()
    area.fill('{"text": "string", "mood": "good|bad", "age": "int?"}')
    row.get_by_role("button", name="Edit as fields (input schema)").click()
    expect(row.get_by_label("Choices of field 2")).to_have_value("good, bad")
    expect(row.get_by_label("Required").nth(2)).not_to_be_checked()


@pytest.mark.parametrize(
    "text",
    ['["broken"]', "[1]", '{"type": "object", "anyOf": [{"required": ["a"]}]}', '{"a": "any"}'],
)
def test_what_the_list_cannot_show_stays_as_it_was_written(row: Locator, text: str) -> None:
    area = row.get_by_label("Input schema", exact=True)
    row.get_by_role("button", name="Edit as JSON (input schema)").click()
    area.fill(text)
    row.get_by_role("button", name="Edit as fields (input schema)").click()
    expect(row).to_contain_text("This schema says more than a list of fields can.")
    expect(area).to_be_visible()
    # Leaving it puts JSON in order, and changes nothing else.
    assert area.input_value() in (text, json.dumps(json.loads(text), indent=2))


def test_an_empty_schema_that_was_refused_is_still_a_list_of_fields(
    row: Locator, person: Person
) -> None:
    person.page.get_by_role("button", name="Next", exact=True).last.click()
    expect(row.get_by_text("Add at least one field.").first).to_be_visible()
    expect(row.get_by_label("Input schema", exact=True)).to_be_hidden()
    add_field(row, "text")
    assert schema(row)["required"] == ["text"]
