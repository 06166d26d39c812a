"""Secrets with known values, the whole road, and a look everywhere: none stands in the clear.

The few places where one has to be are named, each where it is read.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import httpx
import pytest
from django.apps import apps
from django.contrib import admin
from django.urls import reverse
from websockets.sync.client import connect

from accounts.models import Membership, Organization, User
from accounts.roles import Role
from config.embedded_process import wait_until
from registry.models import Agent, Secret
from registry.services.agents import credentials_of
from tests.builders import make_organization
from tests.config.canaries import (
    Canaries,
    Site,
    look_at_files,
    look_at_processes,
    look_at_redis,
    look_at_the_container,
    look_at_the_database,
)
from tests.upstream import Answer, Upstream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.running import RunningPlatform

FACTORY = "/api/platform/agent-factory"
OBJECT = {"type": "object"}
ROWS_OF_A_MODEL = 12
"""Change pages of one model that are opened."""


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    server = Upstream().start()
    yield server
    server.stop()


def agent_request(upstream: Upstream) -> dict[str, Any]:
    return {
        "template_id": "memory-agent",
        "agent_id": "WowCanary",
        "name": "Canary Agent",
        "description": "Calls out with secrets.",
        "tier": 3,
        "capabilities": [
            "store_context",
            "retrieve_context",
            "search_context",
            "summarize_context",
            {
                "name": "call_out",
                "description": "Call the service.",
                "input_schema": {"type": "object", "properties": {"q": {"type": "string"}}},
                "output_schema": OBJECT,
                "timeout_seconds": 5,
                "implementation": {
                    "kind": "http",
                    "url": f"{upstream.url}/things",
                    "secret": "tool-secret",
                },
            },
            {
                "name": "ask_model",
                "description": "Ask the model.",
                "input_schema": OBJECT,
                "output_schema": {"type": "object", "properties": {"answer": {"type": "string"}}},
                "timeout_seconds": 5,
                "implementation": {"kind": "prompt", "instructions": "Answer."},
            },
        ],
        "tools": [
            {
                "tool": "chat-model",
                "parameters": {"base_url": f"{upstream.url}/v1", "model": "big"},
                "secret": "model-key",
            },
        ],
        "resources": {"cpu_cores": 1, "memory_mb": 1024, "storage_gb": 1},
    }


@pytest.fixture
def sites(platform: RunningPlatform) -> Iterator[list[Site]]:
    """Three clients: of a person, of a program and of the admin."""
    made = [Site(platform) for _ in range(3)]
    yield made
    for site in made:
        site.client.close()


@pytest.mark.worker
@pytest.mark.docker
def test_no_secret_stands_anywhere_in_the_clear(
    platform: RunningPlatform, upstream: Upstream, sites: list[Site]
) -> None:
    canaries = Canaries()
    _add_own_secrets(canaries, platform)
    people, programs, admins = sites
    organization = make_organization()

    # The admin makes a person and keeps two secrets.
    admins.sign_in("admin", platform.admin_password)
    canaries.add("admin password", platform.admin_password)
    password = canaries.make("password")
    for name in ("tool-secret", "model-key"):
        made = admins.submit(
            reverse("admin:registry_secret_add"),
            {"organization": organization.pk, "name": name, "value": canaries.make(name)},
        )
        assert made.status_code == 302, _errors(made)
    username = f"canary-person-{organization.pk}"
    made = admins.submit(
        reverse("admin:accounts_user_add"),
        {
            "username": username, "usable_password": "true",
            "password1": password, "password2": password,
        },
    )  # fmt: skip
    assert made.status_code == 302, _errors(made)
    user = User.objects.get(username=username)
    Membership.objects.create(user=user, organization=organization, role=Role.ADMIN)
    people.sign_in(username, password)

    _sign_programs_in(canaries, people, programs, username, password)
    agent = _go_the_road(canaries, programs, organization, platform, upstream)
    _keep_a_secret_in_the_wizard(canaries, people)
    _look_at_pages(admins, people, agent)

    for site in (people, programs, admins):
        for where, content in site.answers:
            canaries.look(where, content, allowed=_shown_once(where))
    look_at_the_container(canaries, platform)
    look_at_processes(canaries)
    look_at_the_database(canaries)
    look_at_redis(canaries, platform)
    look_at_files(canaries, platform)

    assert canaries.found == []
    assert canaries.looked_at > 200
    assert programs.client.post("/api/agents/WowCanary/undeploy").status_code == 202
    assert wait_until(lambda: _state(programs)["status"] == "stopped", seconds=60)


def _errors(page: httpx.Response) -> list[str]:
    return re.findall(r"error[^<]*</?[^>]*>[^<]*", page.text)


def _add_own_secrets(canaries: Canaries, platform: RunningPlatform) -> None:
    """The platform's own keys and passwords are random: they are their own canaries."""
    for name in ("SECRET_KEY", "SECRETS_KEYS"):
        canaries.add(name, platform.environment[name])
    for name in ("DATABASE_URL", "AGENT_DATABASE_URL", "REDIS_URL"):
        canaries.add(name, unquote(urlsplit(platform.environment[name]).password or ""))


def _shown_once(where: str) -> tuple[str, ...]:
    """Return the secrets that this answer is there to hand out."""
    if where.endswith(("/api/auth/token", "/api/auth/refresh")):
        return ("access token", "refresh token", "second access token")
    return ("API token",) if where.startswith("POST") and where.endswith("/account/tokens") else ()


def _sign_programs_in(
    canaries: Canaries, people: Site, programs: Site, username: str, password: str
) -> None:
    page = people.submit("/account/tokens", {"name": "canary"}, form="/account")
    shown = re.search(r"\b[0-9a-f]{64}\b", page.text)
    assert shown, page.text
    canaries.add("API token", shown.group())
    client = programs.client
    for wrong in (password + "x", password[:-1]):
        refused = client.post("/api/auth/token", json={"username": username, "password": wrong})
        assert refused.status_code == 401
    tokens = client.post("/api/auth/token", json={"username": username, "password": password})
    canaries.add("access token", tokens.json()["access"])
    canaries.add("refresh token", tokens.json()["refresh"])
    again = client.post("/api/auth/refresh", json={"refresh": tokens.json()["refresh"]})
    canaries.add("second access token", again.json()["access"])
    for scheme, token in (("Bearer", tokens.json()["access"]), ("Token", shown.group())):
        spoilt = {"Authorization": f"{scheme} {token}x"}
        assert client.get("/api/agents", headers=spoilt).status_code == 401
    client.headers["Authorization"] = f"Bearer {tokens.json()['access']}"
    assert client.get("/api/agents").status_code == 200
    client.headers["Authorization"] = f"Token {shown.group()}"
    assert client.get("/api/agents").status_code == 200


def _state(programs: Site) -> Any:
    return programs.client.get(f"{FACTORY}/agents/WowCanary/provisioning").json()


def _go_the_road(
    canaries: Canaries,
    programs: Site,
    organization: Organization,
    platform: RunningPlatform,
    upstream: Upstream,
) -> Agent:
    client, request = programs.client, agent_request(upstream)
    report = client.post(f"{FACTORY}/validate", json=request).json()
    assert report["valid"] is True, report
    scenario = {"name": "Store Context", "input": {"customer_id": "c-1", "text": "premium"}}
    started = client.post(
        f"{FACTORY}/test", json={"agent_config": request, "test_scenarios": [scenario]}
    )
    assert started.status_code == 202, started.text
    test_id = started.json()["test_id"]
    results = f"{FACTORY}/test/{test_id}/results"
    _follow(canaries, programs, platform, f"sandbox/{test_id}", ("completed", "errored"))
    assert client.get(results).json()["passed"] is True, client.get(results).text

    accepted = client.post(f"{FACTORY}/agents", json=request)
    assert accepted.status_code == 202, accepted.text
    deployment_id = accepted.json()["deployment_id"]
    _follow(canaries, programs, platform, f"deployment/{deployment_id}", ("running", "failed"))
    assert wait_until(lambda: _state(programs)["status"] == "completed", seconds=120)
    assert client.post("/api/agents/WowCanary/activate").status_code == 200
    agent = Agent.objects.get(agent_id="WowCanary", organization=organization)
    held = credentials_of(agent)
    for name in ("invoke_token", "egress_token", "redis_password", "database_password"):
        canaries.add(name, getattr(held, name))

    def call(capability: str, body: Any) -> httpx.Response:
        return client.post(f"/api/agents/WowCanary/invoke/{capability}", json=body)

    # A service that gives away what it was sent, in good answers and in bad ones.
    tool_secret, model_key = (
        canaries.values[name].decode() for name in ("tool-secret", "model-key")
    )
    for status in (200, 401, 500):
        upstream.answer = Answer.of({"echo": f"you sent Bearer {tool_secret}"}, status=status)
        assert call("call_out", {"q": "a"}).status_code in (200, 424, 502)
        said = {"answer": f"key {model_key}"}
        upstream.answer = Answer.of(
            {
                "choices": [{"message": {"role": "assistant", "content": json.dumps(said)}}],
                "error": {"message": f"Incorrect API key provided: {model_key}"},
            },
            status=status,
        )
        assert call("ask_model", {}).status_code in (200, 424, 502)
    sent = {received.headers.get("authorization") for received in upstream.received}
    # Where they have to arrive: at the services that they are for.
    assert sent == {f"Bearer {tool_secret}", f"Bearer {model_key}"}
    upstream.answer = Answer(body=f"no JSON: {tool_secret}".encode())
    assert call("call_out", {}).status_code in (200, 502)
    assert call("call_out", {"q": 5}).status_code == 400
    assert call("store_context", {"text": 5}).status_code == 400
    assert call("nothing", {}).status_code == 404
    assert call("store_context", {"customer_id": "c-1", "text": "premium"}).status_code == 200
    for path in ("", "/WowCanary"):
        assert client.get(f"/api/agents{path}").status_code == 200
    assert client.get(f"{FACTORY}/agents/WowCanary/status").json()["health"]
    return agent


def _keep_a_secret_in_the_wizard(canaries: Canaries, people: Site) -> None:
    """Type a secret on step 3, then a wrong one, and open every step of the draft."""
    begun = people.submit("/agents/new", {"template-template": "memory-agent"})
    assert begun.status_code == 302, _errors(begun)
    draft = begun.headers["location"].rsplit("/", 1)[0]
    people.submit(f"{draft}/basics", {"basics-name": "Canary Draft", "do": "next"})
    for name in ("wizard-secret", ""):
        fields = {"secret_name": name, "secret_value": canaries.make(f"typed {name or 'in vain'}")}
        kept = people.submit(f"{draft}/capabilities", {**fields, "do": "secret-add"})
        assert kept.status_code in (200, 302), kept.text
        assert people.client.get(f"{draft}/capabilities").status_code == 200
    assert Secret.objects.filter(name="wizard-secret").exists()


def _follow(
    canaries: Canaries, programs: Site, platform: RunningPlatform, what: str, ends: tuple[str, ...]
) -> None:
    """Follow a piece of work over its WebSocket until it ends; look at every message."""
    url = f"{platform.url.replace('http', 'ws', 1)}/ws/factory/{what}"
    headers = {"Authorization": programs.client.headers["Authorization"]}
    with connect(url, additional_headers=headers) as socket:
        while True:
            text = socket.recv(timeout=120)
            canaries.look(f"WebSocket {what}", text)
            message = json.loads(text)
            payload = message.get("payload", {})
            if message.get("status") in ends or (
                message.get("kind") == "status"
                and "step" not in payload
                and payload.get("to") in (*ends, "passed", "failed")
            ):
                return


def _look_at_pages(admins: Site, people: Site, agent: Agent) -> None:
    """Open every page of the admin, and the portal's pages about this agent."""
    for model in apps.get_models():
        if not admin.site.is_registered(model):
            continue
        base = f"admin:{model._meta.label_lower.replace('.', '_')}"  # noqa: SLF001 - Django's documented model API
        assert admins.client.get(reverse(f"{base}_changelist")).status_code == 200, base
        rows = model._default_manager.order_by("-pk").values_list("pk", flat=True)  # noqa: SLF001 - the same
        for pk in rows[:ROWS_OF_A_MODEL]:
            for page in ("change", "history"):
                answer = admins.client.get(reverse(f"{base}_{page}", args=[pk]))
                assert answer.status_code in (200, 302), (base, pk, answer.status_code)
    deployment = agent.deployments.latest("created_at")
    for path in (
        "/", "/account", "/templates", "/templates/memory-agent", "/agents/WowCanary",
        "/agents/WowCanary/logs", "/agents/WowCanary/figures",
        "/deployments", f"/deployments/{deployment.pk}", "/health", "/ready", "/api/schema",
    ):  # fmt: skip
        assert people.client.get(path).status_code == 200, path
