"""Step 5 in Chromium while the server can't be reached."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.urls import reverse
from playwright.sync_api import expect

from factory.wizard.drafts import keep_draft, start_draft
from sandbox.models import SandboxTest

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

    from tests.browser.driving import Person

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]


def lose_what_is_posted(route: Route) -> None:
    if route.request.method == "POST":
        route.abort("internetdisconnected")
    else:
        route.continue_()


def at_test_step(person: Person) -> Page:
    draft = start_draft(caller=person.caller, template="memory-agent")
    draft.wizard_state["step_data"]["basics"] = {
        "basics-name": ["All Passed"],
        "basics-tier": ["3"],
    }
    keep_draft(caller=person.caller, draft=draft, state=draft.wizard_state)
    page = person.open(reverse("wizard-step", args=[draft.pk, "capabilities"]))
    for title in ("Configure Resources", "Test Agent"):
        page.locator(".wizard-actions").get_by_role("button", name="Next").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text(title)
    return page


def test_skipping_goes_once_all_has_passed(person: Person) -> None:
    page = at_test_step(person)
    stop = page.get_by_role("button", name="Stop")
    expect(stop).to_be_visible()
    expect(page.locator("#skip")).to_be_visible()
    tests = SandboxTest.objects.filter(organization=person.caller.organization)
    for test in tests:
        test.results.update(status="PASSED")
    tests.update(status="passed")
    stop.click()
    expect(page.locator("#verdict")).to_contain_text("Ready to deploy")
    expect(page.locator("#skip")).to_be_hidden()
    assert person.violations() == []


def test_a_button_whose_request_was_lost_says_so_and_can_be_pressed_again(person: Person) -> None:
    draft = start_draft(caller=person.caller, template="memory-agent")
    draft.wizard_state["step_data"]["basics"] = {
        "basics-name": ["Lost And Found"],
        "basics-tier": ["3"],
    }
    keep_draft(caller=person.caller, draft=draft, state=draft.wizard_state)
    page = person.open(reverse("wizard-step", args=[draft.pk, "capabilities"]))
    page.locator(".wizard-actions").get_by_role("button", name="Next").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Configure Resources")
    address = f"**{reverse('wizard-step', args=[draft.pk, 'test'])}"
    page.route(address, lose_what_is_posted)
    page.locator(".wizard-actions").get_by_role("button", name="Next").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Test Agent")

    # The scenarios begin by themselves when the page opens; that request is lost as well.
    lost = page.locator("#main > .messages")
    expect(lost).to_have_text("The page could not reach the server. Try again.")
    button = page.get_by_role("button", name="Run all")
    with page.expect_event("requestfailed"):
        button.click()
    expect(button).to_be_enabled()
    expect(lost).to_have_count(1)
    assert person.violations() == []
    assert not SandboxTest.objects.filter(organization=person.caller.organization).exists()

    page.unroute(address)
    button.click()
    stop = page.get_by_role("button", name="Stop")
    expect(stop).to_be_visible()
    expect(lost).to_have_count(0)
    stop.click()
    expect(button).to_be_visible()
