"""Every page by axe, light and dark, and at 360 px; and what scripts add to the shell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.urls import reverse
from playwright.sync_api import expect

from factory.services.blueprints import create_agent
from factory.wizard.drafts import keep_draft, start_draft
from tests.browser.driving import NARROW, WIDE, beside
from tests.builders import make_request

if TYPE_CHECKING:
    from tests.browser.driving import Person

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

BASICS = {"basics-name": ["Looked At"], "basics-tier": ["3"]}


@pytest.fixture
def pages(person: Person) -> list[str]:
    """Addresses of all pages, with something on each."""
    draft = start_draft(caller=person.caller, template="memory-agent")
    draft.wizard_state["step_data"]["basics"] = BASICS
    keep_draft(caller=person.caller, draft=draft, state=draft.wizard_state)
    agent, deployment = beside(
        lambda: create_agent(
            caller=person.caller, request=make_request(), skip_test_reason="Only looked at."
        )
    )
    return [
        "/",
        "/?q=nothing-like-this",
        "/agents/new",
        reverse("wizard-step", args=[draft.pk, "template"]),
        reverse("wizard-step", args=[draft.pk, "basics"]),
        reverse("wizard-step", args=[draft.pk, "capabilities"]),
        reverse("agent", args=[agent.agent_id]),
        reverse("deployment", args=[deployment.pk]),
        "/deployments",
        "/templates",
        "/templates/memory-agent",
        "/account",
        "/account/password",
        "/no-such-page",
    ]


def test_no_page_has_violations_or_scrolls_sideways(person: Person, pages: list[str]) -> None:
    page = person.page
    found: list[str] = []
    for path in pages:
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            for size in (WIDE, NARROW):
                page.set_viewport_size(size)
                person.open(path)
                page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
                width = page.evaluate("document.documentElement.scrollWidth")
                if width > size["width"]:
                    found.append(f"{path} {scheme} is {width} px wide at {size['width']}")
                found += [
                    f"{path} {scheme} {size['width']}: {item}" for item in person.violations()
                ]
    assert found == []


def test_the_sign_in_page_has_no_violations(person: Person) -> None:
    person.page.context.clear_cookies()
    for scheme in ("light", "dark"):
        person.page.emulate_media(color_scheme=scheme)
        person.open("/sign-in")
        assert person.violations() == []


def test_the_theme_that_was_chosen_stays(person: Person) -> None:
    page = person.open("/")
    page.get_by_role("button", name="Dark", exact=True).click()
    expect(page.locator("html")).to_have_class("js dark")
    person.open("/templates")
    expect(page.locator("html")).to_have_class("js dark")


def test_the_menu_opens_and_closes_on_a_narrow_screen(person: Person) -> None:
    person.page.set_viewport_size(NARROW)
    page = person.open("/")
    menu = page.get_by_role("link", name="Deployments")
    expect(menu).to_be_hidden()
    page.get_by_role("link", name="Open the menu").click()
    expect(menu).to_be_visible()
    page.keyboard.press("Escape")
    expect(menu).to_be_hidden()


def test_what_is_typed_survives_a_reload_without_saving(person: Person) -> None:
    draft = start_draft(caller=person.caller, template="memory-agent")
    path = reverse("wizard-step", args=[draft.pk, "basics"])
    page = person.open(path)
    with page.expect_response(lambda answer: answer.status == 204):
        page.get_by_label("Agent name").fill("Typed And Left")
    person.open(path)
    expect(page.get_by_label("Agent name")).to_have_value("Typed And Left")


def test_a_wizard_without_scripts_shows_every_field(person: Person) -> None:
    draft = start_draft(caller=person.caller, template="memory-agent")
    browser = person.page.context.browser
    assert browser is not None
    context = browser.new_context(
        java_script_enabled=False, storage_state=person.page.context.storage_state()
    )
    page = context.new_page()
    page.goto(person.url + reverse("wizard-step", args=[draft.pk, "basics"]))
    expect(page.get_by_label("Agent name")).to_be_visible()
    page.get_by_label("Agent name").fill("No Scripts Here")
    page.locator(".wizard-actions").get_by_role("button", name="Next").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Define Capabilities")
    context.close()
