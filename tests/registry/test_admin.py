"""The registry and the factory in the admin."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from factory.models import PriceBook, Tier
from factory.services.blueprints import save_draft
from factory.services.defaults import load_defaults
from registry.models import Agent, Secret, Tool
from registry.services.agents import create_release, credentials_of, reserve_agent
from registry.services.secrets import put_secret, reveal_for_use
from tests.builders import make_caller, make_spec, make_user

pytestmark = pytest.mark.django_db
CANARY = "canary-7d1e-value"


@pytest.fixture
def staff() -> Client:
    load_defaults()
    client = Client()
    client.force_login(make_user(is_staff=True, is_superuser=True))
    return client


def page(client: Client, model: str, action: str, *args: Any) -> str:
    answer = client.get(reverse(f"admin:{model}_{action}", args=args))
    assert answer.status_code == 200
    return answer.content.decode()


def test_agents_and_releases_are_looked_at_only(staff: Client) -> None:
    caller = make_caller()
    spec = make_spec()
    agent = reserve_agent(caller=caller, spec=spec)
    release = create_release(caller=caller, agent=agent, spec=spec, files={"main.py": ""})

    assert agent.agent_id in page(staff, "registry_agent", "changelist")
    shown = page(staff, "registry_agent", "change", agent.pk)
    assert 'name="status"' not in shown
    assert credentials_of(agent).egress_token not in shown
    assert spec.digest in page(staff, "registry_release", "change", release.pk)
    in_the_portal = f'href="{reverse("agent", args=[agent.agent_id])}"'
    assert in_the_portal in shown
    assert in_the_portal in page(staff, "registry_release", "change", release.pk)
    page(staff, "registry_release", "changelist")
    for model, row in (("registry_agent", agent), ("registry_release", release)):
        assert staff.get(reverse(f"admin:{model}_add")).status_code == 403
        changed = staff.post(reverse(f"admin:{model}_change", args=[row.pk]), {"status": "active"})
        assert changed.status_code == 403
        assert staff.post(reverse(f"admin:{model}_delete", args=[row.pk])).status_code == 403
    assert Agent.objects.get().status == "draft"


def test_a_secret_is_written_and_never_shown(staff: Client) -> None:
    organization = make_caller().organization
    body = {"organization": str(organization.pk), "name": "model", "value": CANARY}

    added = staff.post(reverse("admin:registry_secret_add"), body)

    assert added.status_code == 302, added.content
    assert reveal_for_use(organization=organization, name="model") == CANARY
    secret = Secret.objects.get()
    shown = page(staff, "registry_secret", "change", secret.pk)
    assert CANARY not in shown + page(staff, "registry_secret", "changelist")
    path = reverse("admin:registry_secret_change", args=[secret.pk])
    assert staff.post(path, {"value": "newer"}).status_code == 302
    assert reveal_for_use(organization=organization, name="model") == "newer"


@pytest.mark.parametrize(
    "wrong", [{"name": "a b"}, {"value": ""}, {"value": "x" * 8193}, {"organization": ""}]
)
def test_a_wrong_secret_is_explained(staff: Client, wrong: dict[str, str]) -> None:
    body = {"organization": str(make_caller().organization.pk), "name": "model", "value": "x"}

    answer = staff.post(reverse("admin:registry_secret_add"), body | wrong)

    assert answer.status_code == 200
    assert not Secret.objects.exists()


def test_secrets_are_removed(staff: Client) -> None:
    caller = make_caller()
    for name in ("one", "two"):
        put_secret(caller=caller, name=name, value="x")
    one, two = Secret.objects.order_by("name")

    staff.post(reverse("admin:registry_secret_delete", args=[one.pk]), {"post": "yes"})
    staff.post(
        reverse("admin:registry_secret_changelist"),
        {"action": "delete_selected", "_selected_action": [str(two.pk)], "post": "yes"},
    )

    assert not Secret.objects.exists()


@pytest.mark.parametrize(
    ("schema", "accepted"),
    [
        ('{"type": "object"}', True),
        ('{"type": "string"}', False),
        ("[]", True),
        ("[1]", False),
        ('{"type": "object", "properties": 5}', False),
    ],
)
def test_a_tools_schema_is_checked(staff: Client, schema: str, *, accepted: bool) -> None:
    tool = Tool.objects.get(slug="http-api")
    body = {"name": "Ours", "parameters_schema": schema, "is_active": "on"}

    answer = staff.post(reverse("admin:registry_tool_change", args=[tool.pk]), body)

    assert answer.status_code == (302 if accepted else 200)
    tool.refresh_from_db()
    assert (tool.name, tool.slug) == ("Ours" if accepted else "HTTP API", "http-api")
    page(staff, "registry_tool", "add")
    assert staff.post(reverse("admin:registry_tool_delete", args=[tool.pk])).status_code == 403


def test_quotas_and_prices_are_set(staff: Client) -> None:
    tier = Tier.objects.get(number=3)
    body = {
        "name": "Professional",
        "quota": "25",
        "max_cpu_cores": "2.0",
        "max_memory_mb": "4096",
        "max_storage_gb": "50",
    }
    path = reverse("admin:factory_tier_change", args=[tier.pk])

    assert staff.post(path, body).status_code == 302
    assert Tier.objects.get(number=3).quota == 25
    assert staff.post(path, body | {"quota": "-1"}).status_code == 200
    assert staff.post(reverse("admin:factory_tier_delete", args=[3])).status_code == 403
    page(staff, "factory_tier", "changelist")
    page(staff, "factory_tier", "add")
    assert "Max memory (MB)" in page(staff, "factory_tier", "change", 3)


def test_the_only_prices_in_force_are_kept(staff: Client) -> None:
    book = PriceBook.objects.get()
    delete = reverse("admin:factory_pricebook_delete", args=[book.pk])
    shown = page(staff, "factory_pricebook", "change", book.pk)
    for said in ("14.40", "Memory, per GB-month (₹)", "Tier 3: "):
        assert said in shown
    assert delete not in shown
    assert "delete_selected" not in page(staff, "factory_pricebook", "changelist")
    # One that is not in force yet takes nobody's place.
    later = PriceBook.objects.create(name="Next", valid_from=timezone.now() + timedelta(days=9))
    assert staff.post(delete, {"post": "yes"}).status_code == 403

    PriceBook.objects.filter(pk=later.pk).update(valid_from=timezone.now())
    assert delete in page(staff, "factory_pricebook", "change", book.pk)
    assert staff.post(delete, {"post": "yes"}).status_code == 302
    assert list(PriceBook.objects.all()) == [later]


def test_prices_are_saved_in_their_rows(staff: Client) -> None:
    book = PriceBook.objects.get()
    path = reverse("admin:factory_pricebook_change", args=[book.pk])
    form = staff.get(path).context["inline_admin_formsets"][0].formset
    body = {
        f"{form.prefix}-{name}": form.management_form[name].value()
        for name in ("TOTAL_FORMS", "INITIAL_FORMS", "MIN_NUM_FORMS", "MAX_NUM_FORMS")
    }
    for row in form.forms:
        body |= {row.add_prefix(name): row[name].value() for name in row.fields if name != "DELETE"}
        body[row.add_prefix("price_book")] = book.pk
    body |= {"name": "Ours", "valid_from_0": "2025-01-01", "valid_from_1": "00:00:00"}
    body[form.forms[0].add_prefix("other_month")] = "301.50"

    assert staff.post(path, body).status_code == 302
    book.refresh_from_db()
    assert book.name == "Ours"
    assert str(book.prices.get(tier_id=1).other_month) == "301.50"


def test_blueprints_are_looked_at_only(staff: Client) -> None:
    draft = save_draft(caller=make_caller(), request={"name": "My Agent"})

    assert "My Agent" in page(staff, "factory_blueprint", "changelist")
    assert 'name="status"' not in page(staff, "factory_blueprint", "change", draft.pk)
    assert staff.get(reverse("admin:factory_blueprint_add")).status_code == 403
    path = reverse("admin:factory_blueprint_change", args=[draft.pk])
    assert staff.post(path, {"name": "x"}).status_code == 403
    path = reverse("admin:factory_blueprint_delete", args=[draft.pk])
    assert staff.post(path).status_code == 403


def test_an_operator_has_no_way_in() -> None:
    caller = make_caller()
    client = Client()
    assert caller.user is not None
    client.force_login(caller.user)
    assert client.get(reverse("admin:registry_secret_add")).status_code == 302
