"""The whole API against its own description: what it says it takes, refuses and answers.

The requests are made from the OpenAPI document by schemathesis, so that a new operation is covered
by being there. Each is sent to the real WSGI application on the same world, which is put back after
it, once with names that exist and once with names that do not.
"""

from __future__ import annotations

import json
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from django.core.cache import cache
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, transaction
from drf_spectacular.generators import SchemaGenerator
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode as Mode
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from accounts.roles import Role
from accounts.services import create_api_token
from ledger.problems import PROBLEM_TYPE
from provisioning.services import deploy_release
from registry.services.agents import create_release, reserve_agent
from sandbox.scenarios import ScenarioInput
from sandbox.services import start_test
from tests.builders import install, make_caller, make_spec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from django.test import Client
    from schemathesis import Case

pytestmark = pytest.mark.django_db

EXAMPLES = 6
MOST = 64
"""Requests of one operation at its bounds; they are spread over all that there are."""
PROBLEM_KEYS = {"type", "title", "status", "code", "detail"}
CHECKED = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,  # last: the judge is spared it
]


def restoring(app: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    """Let ``app`` answer within a savepoint that is rolled back."""

    def answer(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        with transaction.atomic():
            body = b"".join(app(environ, start_response))
            transaction.set_rollback(True)
        yield body

    return answer


GENERATOR = SchemaGenerator()  # type: ignore[no-untyped-call]  # the package types its methods only in part
DOCUMENT = GENERATOR.get_schema(request=None, public=True)  # type: ignore[no-untyped-call]  # the same
API = schemathesis.openapi.from_dict(DOCUMENT, config=SchemathesisConfig())
API.app = restoring(get_wsgi_application())
OPERATIONS = [item.ok() for item in API.get_all_operations() if isinstance(item, Ok)]
LABELS = {operation.label: operation for operation in OPERATIONS}
# Other names of operations that the same code answers: their bounds are the same.
TWINS = {
    "POST /api/platform/agent-factory/agents": "POST /api/agents",
    "POST /api/platform/agent-factory/cost-estimate": (
        "POST /api/platform/agent-factory/estimate-cost"
    ),
}
# Answers 200 to what is wrong, for saying what is wrong is what it is for.
JUDGE = "POST /api/platform/agent-factory/validate"


@dataclass(frozen=True)
class World:
    """Something for every operation to find."""

    tokens: dict[str, str]
    names: dict[str, str]


@pytest.fixture(autouse=True)
def _one_connection() -> Iterator[None]:
    """Keep the application from closing the test's connection, as Django's own test client does."""
    signals = (request_started, request_finished)
    for signal in signals:
        signal.disconnect(close_old_connections)
    yield
    for signal in signals:
        signal.connect(close_old_connections)


@pytest.fixture
def world() -> World:
    cache.clear()
    install()
    admin = make_caller(Role.ADMIN)
    spec = make_spec(agent_id="WowFuzz")
    agent = reserve_agent(caller=admin, spec=spec)
    release = create_release(caller=admin, agent=agent, spec=spec, files={"main.py": ""})
    deploy_release(caller=admin, agent=agent, release=release)
    scenario = ScenarioInput(name="Describe", input={}, capability="describe_agent")
    test = start_test(caller=admin, spec=spec, scenarios=[scenario])
    viewer = make_caller(Role.VIEWER, admin.organization)
    return World(
        tokens={
            caller.role: create_api_token(caller=caller, name="fuzz")[1]
            for caller in (admin, viewer)
        },
        names={
            "agent_id": agent.agent_id,
            "capability": "describe_agent",
            "template_id": "memory-agent",
            "test_id": str(test.pk),
        },
    )


def check(case: Case[Any], world: World, role: str) -> None:
    """Send the request and judge its answer."""
    headers = {"Authorization": f"Token {world.tokens[role]}"}
    response = case.call(headers=headers)
    checks = CHECKED[:-1] if case.operation.label == JUDGE else CHECKED
    case.validate_response(response, checks=checks, headers=headers)
    if response.status_code >= 400:
        assert response.headers["content-type"] == [PROBLEM_TYPE]
        assert_problem_body(response.json(), response.status_code)


@pytest.mark.parametrize("label", sorted(LABELS.keys() - TWINS.keys()))
def test_at_and_over_every_bound(label: str, world: World) -> None:
    operation = LABELS[label]
    config = API.config.generation_for(operation=operation, phase="coverage")
    cases = list(
        API.iter_coverage_cases(operation, generation_modes=list(Mode), generation_config=config)
    )
    assert cases
    for case in cases[:: 1 + len(cases) // MOST]:
        check(case, world, Role.ADMIN)


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize(
    ("role", "mode"),
    [(Role.ADMIN, Mode.POSITIVE), (Role.ADMIN, Mode.NEGATIVE), (Role.VIEWER, Mode.POSITIVE)],
    ids=["admin-as-described", "admin-not-as-described", "viewer-as-described"],
)
def test_anything(label: str, role: Role, mode: Mode, world: World) -> None:
    operation = LABELS[label]
    known = {parameter.name: world.names[parameter.name] for parameter in operation.path_parameters}
    # Where nothing else can be got wrong, the names of what exists are.
    only_names = mode is Mode.NEGATIVE and not (operation.body or operation.query)
    requests = operation.as_strategy(
        generation_mode=mode, path_parameters=None if only_names else known
    )

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=requests)
    def send(case: Case[Any]) -> None:
        check(case, world, role)

    with suppress(Unsatisfiable) if only_names else nullcontext():  # any text may be a name
        send()


HOSTILE = {
    "deep": b'{"name": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep and unclosed": b'{"a":' * 50_000,
    "a megabyte and more": b'{"name": "' + b"a" * 1_048_600 + b'"}',
    "deep, within what is parsed": b'{"name": "a", "config": ' + b"[" * 60 + b"]" * 60 + b"}",
    "many values": json.dumps({"name": "a", "tags": ["t"] * 100_000}).encode(),
    "code": json.dumps({"name": 'a"};\n{{ 7*7 }}\U0001f600', "tier": [[]]}).encode(),
    "many keys": json.dumps({f"key{number}": number for number in range(30_000)}).encode(),
    "invalid UTF-8": b'{"name": "\xff\xfe"}',
    "UTF-16": '{"name": "a"}'.encode("utf-16"),
    "NUL byte": b'{"name": "a\x00b"}',
    "NUL character": b'{"name": "a\\u0000b", "config": {"a": "\\u0000"}}',
    "lone surrogate": b'{"name": "a\\ud800b", "config": {"\\udfff": "\\ud800"}}',
    "huge whole number": b'{"name": "a", "tier": ' + b"9" * 5000 + b"}",
    "huge number": b'{"name": "a", "tier": 1e999, "config": {"a": -1e400}}',
    "not a number": b'{"name": "a", "tier": NaN, "config": {"a": Infinity}}',
    "duplicate keys": b'{"name": "a", "name": "b"}',
    "a list": b"[1, 2, 3]",
    "null": b"null",
    "a text": b'"text"',
    "nothing": b"",
    "half": b'{"name": ',
    "two": b"{} {}",
}
# It is an answer of their judge that they are not valid.
JUDGED = {"huge whole number", "NUL character", "lone surrogate", "code"}
WRONG_TYPES = [
    "application/xml",
    "text/plain",
    "multipart/form-data",
    "application/x-www-form-urlencoded; charset=utf-16",
    "nonsense",
    "/",
    "",
]
WITH_BODY = [label for label, operation in LABELS.items() if operation.body]


@pytest.mark.parametrize("label", WITH_BODY)
def test_hostile_bodies(label: str, world: World, client: Client) -> None:
    for name, body in HOSTILE.items():
        answer = send_raw(client, label, world, body, "application/json")
        expected = {413} if name == "a megabyte and more" else {400, 401, 409}
        if name == "nothing" or (label == JUDGE and name in JUDGED):
            expected |= {200, 202}
        assert answer.status_code in expected, (name, answer.status_code, answer.content[:500])
        if answer.status_code not in (200, 202):
            assert_problem(answer)


@pytest.mark.parametrize("label", WITH_BODY)
def test_wrong_content_types(label: str, world: World, client: Client) -> None:
    for content_type in WRONG_TYPES:
        answer = send_raw(client, label, world, b'{"name": "a"}', content_type)
        assert answer.status_code in (400, 415), (content_type, answer.status_code, answer.content)
        assert_problem(answer)


@pytest.mark.parametrize(
    "path",
    [
        "/api/agents/%00",
        "/api/agents/a%00b",
        "/api/agents/%FF%FE",
        "/api/agents/" + "a" * 5000,
        "/api/agents/..%2F..%2Fetc%2Fpasswd",
        "/api/agents/%ED%A0%80",
        "/api/agents?tier=" + "9" * 5000,
        "/api/agents?tier=NaN",
        "/api/agents?q=%00",
        "/api/agents?cursor=%00",
        "/api/agents?page_size=-1",
        "/api/agents?ordering=password",
        "/api/agents?owner__password=a",
        "/api/platform/agent-factory/templates?q=%00",
        "/api/platform/agent-factory/templates?tier=1&tier=x",
        "/api/platform/agent-factory/templates/%00",
        "/api/platform/agent-factory/test/not-a-uuid/results",
        "/api/platform/agent-factory/agents/%00/status",
        "/api/platform/agent-factory/agents/%00/provisioning",
        "/api/nothing-here",
        "/api/",
    ],
)
def test_wrong_paths_and_queries(path: str, world: World, client: Client) -> None:
    answer = client.get(path, headers={"Authorization": f"Token {world.tokens[Role.ADMIN]}"})

    assert answer.status_code in (400, 404), answer.content
    assert_problem(answer)


def test_a_request_for_another_host(client: Client) -> None:
    answer = client.get("/api/agents", headers={"Host": "elsewhere.example"})

    assert answer.status_code == 400
    assert_problem(answer)


def test_what_is_served_is_the_document_that_was_tested(client: Client) -> None:
    served = client.get("/api/schema", headers={"Accept": "application/vnd.oai.openapi+json"})

    assert served.json() == json.loads(json.dumps(DOCUMENT))


def send_raw(client: Client, label: str, world: World, body: bytes, content_type: str) -> Any:
    method, path = label.split()
    return client.generic(
        method,
        path.format(**world.names),
        body,
        content_type=content_type,
        headers={"Authorization": f"Token {world.tokens[Role.ADMIN]}"},
    )


def assert_problem(answer: Any) -> None:
    assert answer.headers["content-type"] == PROBLEM_TYPE
    assert_problem_body(answer.json(), answer.status_code)


def assert_problem_body(problem: dict[str, Any], status: int) -> None:
    assert PROBLEM_KEYS <= problem.keys() <= PROBLEM_KEYS | {"errors"}
    assert problem["status"] == status
    assert problem["detail"].strip()
    for error in problem.get("errors", []):
        assert error.keys() == {"attr", "code", "detail"}
