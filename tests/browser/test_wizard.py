"""The documents' flows 1 to 6 in Chromium, with real containers, and a deployment that fails."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect
from psycopg import sql

from config.embedded_postgres import AGENTS_ADMIN_ROLE
from provisioning.drivers import get_driver
from provisioning.models import Deployment
from registry.models import Agent
from tests.browser.driving import NARROW, WIDE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.browser.driving import Person
    from tests.running import RunningPlatform

pytestmark = [pytest.mark.browser, pytest.mark.docker, pytest.mark.xdist_group("browser")]

IMAGES = Path(__file__).parents[2] / "docs" / "images"
_SLOW = 120_000


def choose_memory_agent(person: Person) -> None:
    page = person.open("/")
    page.get_by_role("link", name="Create New Agent").click()
    card = page.locator("[data-template=memory-agent]")
    card.get_by_role("link", name="Preview").click()
    preview = page.get_by_role("dialog", name="Memory Agent")
    expect(preview).to_contain_text("Stores and retrieves context with semantic search")
    expect(preview).to_contain_text("store, retrieve, search, summarize")
    expect(preview).to_contain_text("CPU 1 core, RAM 2 GB, storage 10 GB")
    assert person.violations() == []
    page.keyboard.press("Escape")
    expect(preview).to_be_hidden()
    expect(card.get_by_role("link", name="Preview")).to_be_focused()
    page.keyboard.press("Enter")
    preview.get_by_role("button", name="Use Template").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Configure Basics")


def configure_basics(person: Person, name: str, agent_id: str) -> None:
    page = person.page
    page.get_by_label("Agent name").fill(name)
    expect(page.get_by_label("Agent ID")).to_have_value(agent_id)
    checks = page.locator("#checks")
    expect(checks).to_contain_text("Agent ID is unique")
    expect(checks).to_contain_text("Name meets naming conventions")
    expect(checks).to_contain_text("Tier 3 quota available (0/10 used)")
    page.get_by_label("Display name").fill("Customer Context Manager")
    page.get_by_label("Description").fill("Stores customer conversation history and preferences")
    page.get_by_label("Tags").fill("customer, memory, sales")
    next_step(person, "Define Capabilities")


def add_sentiment(person: Person) -> None:
    page = person.page
    page.get_by_role("button", name="Add Capability").click()
    row = page.locator("#skill-4")
    row.get_by_label("Name", exact=True).fill("analyze_sentiment")
    row.get_by_label("Description").fill("Analyze customer sentiment from conversation")
    for text in ("text", "customer_id"):
        row.get_by_role("button", name="Add field to the input schema").click()
        row.get_by_label("Name of field").last.fill(text)
    row.get_by_role("button", name="Edit as JSON (output schema)").click()
    row.get_by_label("Output schema", exact=True).fill(
        '{"sentiment": "positive|neutral|negative", "confidence": "float"}'
    )
    expect(row).to_contain_text("Valid schema: text, customer_id.")
    expect(row).to_contain_text("Valid schema: sentiment, confidence.")
    tool = page.locator("#tool-0")
    tool.locator("summary").click()
    tool.get_by_role("button", name="Test connection").click()
    expect(page.locator("#tool-0 .badge.ok")).to_contain_text("Connected")
    next_step(person, "Configure Resources")


def configure_resources(person: Person) -> None:
    page = person.page
    page.get_by_role("spinbutton", name="Memory").fill("4096")
    expect(page.locator("#cost")).to_contain_text("₹15,000/month")
    expect(page.locator("#cost")).to_contain_text("₹22,000")
    next_step(person, "Test Agent")


def next_step(person: Person, title: str) -> None:
    person.page.locator(".wizard-actions").get_by_role("button", name="Next").click()
    expect(person.page.get_by_role("heading", level=1)).to_contain_text(title)


def look_at(person: Person) -> None:
    """See the page in both colours and at both widths."""
    page = person.page
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        assert person.violations() == []
    page.set_viewport_size(NARROW)
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
    page.set_viewport_size(WIDE)


def call(person: Person, capability: str, payload: dict[str, str], answer: str) -> None:
    part = person.page.locator(f"#try-{capability}")
    part.locator("summary").first.click()
    part.get_by_label("Input (JSON)").fill(json.dumps(payload))
    part.get_by_role("button", name="Call").click()
    output = person.page.locator(f"#answer-{capability} [data-output]")
    expect(output).to_contain_text(answer)


def test_an_agent_is_made_tested_deployed_activated_and_called(person: Person) -> None:
    page = person.page
    choose_memory_agent(person)
    configure_basics(person, "Customer Context Agent", "WowCustomerContext")
    add_sentiment(person)
    look_at(person)
    configure_resources(person)

    # The sandbox starts by itself, its logs stream, and every scenario passes.
    verdict = page.locator("#verdict")
    expect(page.locator("#live-logs")).to_contain_text("Storing context", timeout=_SLOW)
    expect(verdict).to_contain_text("6 scenarios passed", timeout=_SLOW)
    first = page.locator("[data-scenario='Store Context']")
    first.locator("summary").click()
    expect(first).to_contain_text("Duration")
    expect(first).to_contain_text("MB")
    expect(first).to_contain_text('"status": "stored"')
    look_at(person)
    IMAGES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=IMAGES / "test-agent.png")

    next_step(person, "Review & Deploy")
    for text in ("Capabilities: 5", "Docker container", "Message queues (3)", "₹15,000"):
        expect(page.locator("main")).to_contain_text(text)
    look_at(person)
    person.press("Deploy Agent")

    # The steps are followed live: nobody reloads this page.
    live = page.locator("#deployment-live")
    expect(live).to_contain_text("Creating Docker container")
    created = "Agent WowCustomerContext created successfully!"
    expect(live).to_contain_text(created, timeout=_SLOW)
    expect(live.locator("[data-step-status=completed]")).to_have_count(6)
    look_at(person)
    page.screenshot(path=IMAGES / "deployment.png")

    page.get_by_role("link", name="View Agent").click()
    head = page.locator(".page-head")
    expect(head).to_contain_text("Draft")
    person.press("Activate")
    expect(head).to_contain_text("Active")

    kept = {"customer_id": "cust-123", "text": "Customer wants premium plan"}
    call(person, "store_context", kept, "stored")
    query = {"query": "premium", "customer_id": "cust-123"}
    call(person, "search_context", query, "Customer wants premium plan")
    page.screenshot(path=IMAGES / "agent.png")
    look_at(person)

    person.open("/")
    expect(page.locator("#agent-rows")).to_contain_text("Customer Context Manager")
    agent = Agent.objects.get(organization=person.caller.organization)
    assert agent.status == "active"
    assert person.serious_complaints() == []


@contextmanager
def no_new_roles(platform: RunningPlatform) -> Iterator[None]:
    """Take from the platform what it needs to set up an agent's memory."""
    role = sql.Identifier(AGENTS_ADMIN_ROLE)
    with platform.servers.postgres.connect() as connection:
        connection.autocommit = True
        connection.execute(sql.SQL("ALTER ROLE {} NOCREATEROLE").format(role))
        yield
        connection.execute(sql.SQL("ALTER ROLE {} CREATEROLE").format(role))


def test_a_deployment_that_fails_is_undone_before_ones_eyes_and_retried(
    person: Person, platform: RunningPlatform
) -> None:
    page = person.page
    choose_memory_agent(person)
    configure_basics(person, "Ill Fated Agent", "WowIllFated")
    next_step(person, "Configure Resources")
    next_step(person, "Test Agent")
    expect(page.locator("#verdict")).to_contain_text("scenarios passed", timeout=_SLOW)
    next_step(person, "Review & Deploy")

    with no_new_roles(platform):
        person.press("Deploy Agent")
        live = page.locator("#deployment-live")
        expect(page.locator("#failure")).to_contain_text("Setting up memory store", timeout=_SLOW)
        undone = live.locator("[data-step-status=undone]")
        expect(undone.filter(has_text="Creating Docker container")).to_have_count(1, timeout=_SLOW)
        expect(page.get_by_role("button", name="Retry")).to_be_visible(timeout=_SLOW)

    deployment = Deployment.objects.get(organization=person.caller.organization)
    owned = [item.name for item in get_driver().list_owned()]
    assert not [name for name in owned if deployment.agent.key in name]
    person.press("Retry")
    expect(page.locator("#created")).to_be_visible(timeout=_SLOW)
