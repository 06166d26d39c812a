"""The portal while things happen: a step that hangs, a running agent, the theme of the system."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from django.urls import reverse
from playwright.sync_api import expect

from factory.services.blueprints import create_agent
from provisioning.enums import DeploymentStatus
from provisioning.services import undeploy_agent
from tests.browser.driving import NARROW, WIDE, beside
from tests.builders import make_request

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provisioning.models import Deployment
    from registry.models import Agent
    from tests.browser.driving import Person
    from tests.running import RunningPlatform

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]
_SLOW = 120_000


def deploy(person: Person) -> tuple[Agent, Deployment]:
    return beside(
        lambda: create_agent(
            caller=person.caller, request=make_request(), skip_test_reason="Only looked at."
        )
    )


def look_at(person: Person) -> None:
    """Have axe look at the page as it is, light and dark, wide and narrow."""
    page = person.page
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        for size in (WIDE, NARROW):
            page.set_viewport_size(size)
            assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
            assert person.violations() == []
    page.emulate_media(color_scheme="light")
    page.set_viewport_size(WIDE)


@contextmanager
def no_roles_for_now(platform: RunningPlatform) -> Iterator[None]:
    """Let whoever makes a role wait: reading who there is goes on."""
    with platform.servers.postgres.connect() as connection, connection.transaction():
        connection.execute("LOCK TABLE pg_authid IN SHARE ROW EXCLUSIVE MODE")
        yield


def test_a_step_that_hangs_counts_on_and_says_so(person: Person, platform: RunningPlatform) -> None:
    page = person.page
    with no_roles_for_now(platform):
        _, deployment = deploy(person)
        person.open(reverse("deployment", args=[deployment.pk]))
        step = page.locator("[data-step=setup_memory_store]")
        expect(step).to_have_attribute("data-state", "working", timeout=_SLOW)
        seconds = step.locator("[data-elapsed]")
        shown = {seconds.inner_text()}
        page.wait_for_function(
            "before => document.querySelector('[data-elapsed]')?.textContent !== before",
            arg=shown.pop(),
        )
        expect(page.get_by_text("This step takes longer than usual")).to_be_visible(timeout=_SLOW)
        expect(page.get_by_text("remaining")).to_have_count(0)
        # Looking again every few seconds takes nobody's place on the page away.
        cancel = page.get_by_role("button", name="Cancel")
        cancel.focus()
        before = seconds.get_attribute("data-elapsed")
        expect(seconds).not_to_have_attribute("data-elapsed", before or "", timeout=_SLOW)
        expect(cancel).to_be_focused()
        look_at(person)
        page.on("dialog", lambda dialog: dialog.accept())
        cancel.click()
        expect(page.get_by_text("Cancelling: the present step is finished first")).to_be_visible()
    heading = page.get_by_role("heading", level=1)
    expect(heading).to_contain_text("cancelled", timeout=_SLOW)
    expect(page).to_have_title(f"{heading.inner_text()} | Agent Factory")
    expect(page.locator("#deployment-said")).to_have_text(heading.inner_text())
    expect(page.get_by_role("progressbar")).to_have_count(0)
    expect(page.get_by_role("button", name="Retry")).to_be_visible()
    look_at(person)
    deployment.refresh_from_db()
    assert deployment.status == DeploymentStatus.CANCELLED


def test_a_running_agent_shows_its_figures_and_its_log(person: Person) -> None:
    page = person.page
    agent, deployment = deploy(person)
    person.open(reverse("deployment", args=[deployment.pk]))
    expect(page.locator("#created")).to_be_visible(timeout=_SLOW)

    path = reverse("agent", args=[agent.agent_id])
    person.open(path)
    figures = page.locator("#agent-figures")
    expect(figures).to_contain_text("Counted by the agent")
    expect(page.locator("#agent-logs")).to_contain_text("agent starting")
    expect(page.locator("#health")).to_contain_text("Not connected")

    trial = page.locator("#try-store_context")
    trial.locator("summary").first.click()
    trial.get_by_role("button", name="Call").click()
    expect(page.locator("#answer-store_context [data-output]")).to_be_visible(timeout=_SLOW)
    expect(figures.get_by_role("row", name="store_context")).to_be_visible(timeout=_SLOW)
    page.get_by_role("button", name="Refresh the logs").click()
    expect(page.locator("#agent-logs")).to_contain_text("capability completed", timeout=_SLOW)
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    look_at(person)
    for name in ("agent-figures", "agent-logs"):
        person.open(reverse(name, args=[agent.agent_id]))
        look_at(person)

    beside(lambda: undeploy_agent(caller=person.caller, agent=agent))
    person.open(reverse("deployment", args=[deployment.pk]))
    heading = page.get_by_role("heading", level=1)
    expect(heading).to_contain_text("Undeployed Agent", timeout=_SLOW)
    look_at(person)
    person.open(path)
    expect(page.locator("#deployment-note")).to_contain_text("It is undeployed")
    look_at(person)
    assert person.serious_complaints() == []


def test_the_systems_theme_is_followed_as_it_changes(person: Person) -> None:
    page = person.open("/")
    root = page.locator("html")
    for scheme, classes in (("dark", "js dark"), ("light", "js"), ("dark", "js dark")):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # the two names above
        expect(root).to_have_class(classes)
    page.get_by_role("button", name="Light", exact=True).click()
    expect(root).to_have_class("js light")
    page.get_by_role("button", name="As the system").click()
    expect(root).to_have_class("js dark")


def test_no_page_is_kept_in_the_browser(person: Person) -> None:
    page = person.open("/")
    deploy(person)
    person.open("/")
    page.get_by_label("Search").fill("customer")
    expect(page).to_have_url(f"{person.url}/?q=customer&status=&tier=&tag=")
    page.get_by_role("link", name="Templates", exact=True).click()
    page.go_back()
    expect(page.get_by_label("Search")).to_have_value("customer")
    kept = page.evaluate(
        "JSON.stringify([Object.entries(localStorage), Object.entries(sessionStorage)])"
    )
    assert "history" not in kept
    assert "Customer Context" not in kept


def test_a_token_without_a_name_is_refused_beside_its_field(person: Person) -> None:
    page = person.open("/account")
    person.press("Make token")
    field = page.get_by_label("New token for")
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_text("Say what the token is for")).to_be_visible()
    look_at(person)
    field.fill("CI")
    person.press("Make token")
    expect(page.get_by_label("New API token")).to_be_visible()


def test_the_pages_for_outages_and_bugs_can_be_read_by_everybody(person: Person) -> None:
    for name in ("503", "500"):
        from django.template.loader import render_to_string

        person.page.goto(f"{person.url}/health")
        person.page.set_content(render_to_string(f"{name}.html"))
        person.page.wait_for_load_state("networkidle")
        look_at(person)
