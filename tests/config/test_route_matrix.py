"""Every route, for every role and for a stranger: one table, no exceptions.

A route, or a method of one, that is not in the table fails the first tests; so nobody can add one
and forget who may use it.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from accounts.roles import Action, Role, may
from accounts.services import create_api_token
from factory.services.blueprints import save_draft
from provisioning.services import deploy_release
from registry.services.agents import create_release, reserve_agent
from sandbox.scenarios import ScenarioInput
from sandbox.services import start_test
from tests.builders import install, make_caller, make_spec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from accounts.callers import Caller

pytestmark = pytest.mark.django_db


@dataclass(frozen=True)
class Route:
    """Who may use a route. ``owned`` ones name something that belongs to an organisation."""

    name: str
    method: str
    action: Action | None
    owned: bool = False

    def __str__(self) -> str:
        return f"{self.method} {self.name}"


API = [
    Route("api-templates", "GET", None),
    Route("api-template", "GET", None),
    Route("api-validate", "POST", Action.CREATE_AGENTS),
    Route("api-estimate-cost", "POST", Action.VIEW),
    Route("api-cost-estimate", "POST", Action.VIEW),
    Route("api-test", "POST", Action.CREATE_AGENTS),
    Route("sandbox-test-results", "GET", Action.VIEW, owned=True),
    Route("sandbox-test-cancel", "POST", Action.CREATE_AGENTS, owned=True),
    Route("api-create-agent", "POST", Action.DEPLOY_AGENTS),
    Route("api-agent-provisioning", "GET", Action.VIEW, owned=True),
    Route("api-agent-status", "GET", Action.VIEW, owned=True),
    Route("api-agents", "GET", Action.VIEW),
    Route("api-agents", "POST", Action.DEPLOY_AGENTS),
    Route("api-agent", "GET", Action.VIEW, owned=True),
    Route("api-agent", "PATCH", Action.CREATE_AGENTS, owned=True),
    Route("api-agent", "PUT", Action.CREATE_AGENTS, owned=True),
    Route("api-agent", "DELETE", Action.CREATE_AGENTS, owned=True),
    Route("api-agent-deploy", "POST", Action.DEPLOY_AGENTS, owned=True),
    Route("api-agent-undeploy", "POST", Action.DEPLOY_AGENTS, owned=True),
    Route("api-agent-retry", "POST", Action.DEPLOY_AGENTS, owned=True),
    Route("api-agent-cancel", "POST", Action.DEPLOY_AGENTS, owned=True),
    Route("api-agent-activate", "POST", Action.DEPLOY_AGENTS, owned=True),
    Route("api-agent-pause", "POST", Action.DEPLOY_AGENTS, owned=True),
    Route("api-agent-resume", "POST", Action.DEPLOY_AGENTS, owned=True),
    Route("api-agent-deprecate", "POST", Action.DEPLOY_AGENTS, owned=True),
    Route("agent-invoke", "POST", Action.INVOKE_AGENTS, owned=True),
]
PAGES = [
    Route("home", "GET", Action.VIEW),
    Route("account", "GET", Action.VIEW),
    Route("account-token-create", "POST", Action.VIEW),
    Route("wizard-start", "GET", Action.CREATE_AGENTS),
    Route("wizard-start", "POST", Action.CREATE_AGENTS),
    Route("wizard-schema", "POST", Action.CREATE_AGENTS),
    Route("wizard", "GET", Action.CREATE_AGENTS, owned=True),
    Route("wizard", "POST", Action.CREATE_AGENTS, owned=True),
    Route("wizard-step", "GET", Action.CREATE_AGENTS, owned=True),
    Route("wizard-step", "POST", Action.CREATE_AGENTS, owned=True),
    Route("wizard-live", "GET", Action.CREATE_AGENTS, owned=True),
    Route("draft-discard", "POST", Action.CREATE_AGENTS, owned=True),
    Route("agent", "GET", Action.VIEW, owned=True),
    Route("agent-figures", "GET", Action.VIEW, owned=True),
    Route("agent-logs", "GET", Action.DEPLOY_AGENTS, owned=True),
    Route("agent-do", "POST", Action.DEPLOY_AGENTS, owned=True),
    Route("agent-try", "POST", Action.INVOKE_AGENTS, owned=True),
    Route("deployments", "GET", Action.VIEW),
    Route("deployment", "GET", Action.VIEW, owned=True),
    # Whoever may look may post; what a button does asks for more.
    Route("deployment", "POST", Action.VIEW, owned=True),
    Route("templates", "GET", Action.VIEW),
    Route("template", "GET", Action.VIEW),
]
DRAFTS = {"wizard", "wizard-step", "wizard-live", "draft-discard"}
# Open to everybody, or about the person alone; each has tests of its own.
PERSONAL = {
    "health", "ready", "schema", "api-docs", "api-token", "api-token-refresh",
    "api-token-revoke", "sign-in", "sign-out", "password-change", "switch-organization",
    "account-token-revoke",
}  # fmt: skip


def routes() -> Iterator[tuple[str, Any]]:
    """Yield the name and the view function of every route but the admin's."""

    def walk(patterns: list[URLPattern | URLResolver]) -> Iterator[tuple[str, Any]]:
        for pattern in patterns:
            if isinstance(pattern, URLResolver):
                if pattern.namespace != "admin":
                    yield from walk(pattern.url_patterns)
            else:
                assert pattern.name, f"{pattern.pattern} has no name"
                yield pattern.name, pattern.callback

    return walk(get_resolver().url_patterns)


def methods(view: Any) -> set[str]:
    """Return the methods that the view function answers itself."""
    made_of = getattr(view, "cls", None) or view.view_class
    # A view set's function knows its methods; a view's class has one of the name.
    names = getattr(view, "actions", None) or [
        name for name in made_of.http_method_names if hasattr(made_of, name)
    ]
    return {name.upper() for name in set(names) - {"head", "options"}}


def test_the_table_names_every_method_of_every_route() -> None:
    found = {
        (name, method)
        for name, view in routes()
        if name not in PERSONAL
        for method in methods(view)
    }
    table = {(route.name, route.method) for route in [*API, *PAGES]}
    assert table == found
    assert len(table) == len(API) + len(PAGES)
    names = {name for name, _ in routes()}
    assert names == {name for name, _ in table} | PERSONAL


def test_the_table_says_what_the_api_says() -> None:
    views = dict(routes())
    table: dict[str, dict[str, Action]] = {}
    for route in API:
        if route.action is not None:
            table.setdefault(route.name, {})[route.method] = route.action
    assert table == {name: views[name].cls.required_actions for name in table}


@dataclass(frozen=True)
class World:
    """One of each owned thing, in one organisation."""

    owner: Caller
    kwargs: dict[str, dict[str, Any]]

    def path(self, route: Route) -> str:
        return reverse(route.name, kwargs=self.kwargs.get(route.name))


@pytest.fixture
def world() -> World:
    install()
    owner = make_caller(Role.ADMIN)
    spec = make_spec(agent_id="WowMatrix")
    agent = reserve_agent(caller=owner, spec=spec)
    release = create_release(caller=owner, agent=agent, spec=spec, files={"main.py": ""})
    deployment = deploy_release(caller=owner, agent=agent, release=release)
    test = start_test(
        caller=owner,
        spec=spec,
        scenarios=[ScenarioInput(name="Describe", input={}, capability="describe_agent")],
    )
    draft = save_draft(caller=owner, request={"name": "Draft"})
    of_agent = {"agent_id": "WowMatrix"}
    of_draft = {"draft_id": draft.pk}
    kwargs: dict[str, dict[str, Any]] = {
        route.name: of_agent
        for route in [*API, *PAGES]
        if route.owned and route.name.startswith(("agent", "api-agent"))
    }
    kwargs |= {
        "agent-invoke": of_agent | {"capability": "describe_agent"},
        "agent-try": of_agent | {"capability": "describe_agent"},
        "api-template": {"template_id": "blank"},
        "template": {"slug": "blank"},
        "sandbox-test-results": {"test_id": test.pk},
        "sandbox-test-cancel": {"test_id": test.pk},
        "deployment": {"deployment_id": deployment.pk},
        "wizard": of_draft,
        "wizard-step": of_draft | {"step": "template"},
        "wizard-live": of_draft | {"fragment": "checks"},
        "draft-discard": of_draft,
    }
    return World(owner, kwargs)


def answer_to(client: Client, route: Route, path: str, **headers: str) -> int:
    kind = "application/json" if route in API else "application/x-www-form-urlencoded"
    body = "{}" if route in API and route.method != "GET" else ""
    return client.generic(route.method, path, body, content_type=kind, headers=headers).status_code


@pytest.mark.parametrize("route", API, ids=str)
def test_api(route: Route, world: World) -> None:
    path = world.path(route)
    client = Client()
    anonymous = answer_to(client, route, path)
    if route.action is None:
        assert anonymous == 200
        return
    assert anonymous == 401
    for role in Role:
        _, token = create_api_token(caller=make_caller(role, world.owner.organization), name="t")
        status = answer_to(client, route, path, Authorization=f"Token {token}")
        if may(role, route.action):
            assert status not in {401, 403, 404, 405, 500}, (role, status)
        else:
            assert status == 403, (role, status)
        if route.method == "DELETE" and may(role, route.action):
            break  # gone now
    _, token = create_api_token(caller=make_caller(Role.ADMIN), name="stranger")
    status = answer_to(client, route, path, Authorization=f"Token {token}")
    assert (status == 404) == route.owned, status


@pytest.mark.parametrize("route", PAGES, ids=str)
def test_pages(route: Route, world: World) -> None:
    path = world.path(route)
    assert route.action is not None
    assert answer_to(Client(), route, path) == 302
    for role in Role:
        client = Client()
        caller = make_caller(role, world.owner.organization)
        assert caller.user is not None
        client.force_login(caller.user)
        status = answer_to(client, route, path)
        if not may(role, route.action):
            assert status == 403, (role, status)
        elif route.name in DRAFTS:
            assert status == 404, "a draft is its author's alone"
        else:
            assert status not in {401, 403, 404, 405, 500}, (role, status)
    if route.name in DRAFTS:
        assert world.owner.user is not None
        client = Client()
        client.force_login(world.owner.user)
        # A draft is written to at one of its steps.
        expected = {404} if str(route) == "POST wizard" else {200, 302}
        assert answer_to(client, route, path) in expected
    stranger = make_caller(Role.ADMIN)
    assert stranger.user is not None
    client = Client()
    client.force_login(stranger.user)
    assert (answer_to(client, route, path) == 404) == route.owned


def test_what_does_not_exist_looks_like_what_belongs_to_others(world: World) -> None:
    client = Client()
    _, token = create_api_token(caller=make_caller(Role.ADMIN), name="stranger")
    headers = {"Authorization": f"Token {token}"}

    foreign = client.get("/api/agents/WowMatrix", headers=headers)
    missing = client.get("/api/agents/WowNobody", headers=headers)
    test_id = world.kwargs["sandbox-test-results"]["test_id"]
    results = "/api/platform/agent-factory/test/{}/results"
    foreign_test = client.get(results.format(test_id), headers=headers)
    missing_test = client.get(results.format(uuid.uuid4()), headers=headers)

    assert foreign.status_code == missing.status_code == 404
    assert foreign.json() == missing.json()
    assert foreign_test.json() == missing_test.json()
