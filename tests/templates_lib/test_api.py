"""The public API of the library."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from registry.models import Agent
from templates_lib.definitions import forget_definitions
from templates_lib.models import AgentTemplate, TemplateVersion
from templates_lib.services import deprecate_version, template_for
from templates_lib.sources import version_digest
from tests.builders import install, make_organization

pytestmark = pytest.mark.django_db

LIST = "/api/platform/agent-factory/templates"


@pytest.fixture(autouse=True)
def _library() -> None:
    install()


def ids(client: Client, **query: Any) -> list[str]:
    answer = client.get(LIST, query)
    assert answer.status_code == 200, answer.content
    return [template["id"] for template in answer.json()["templates"]]


def make_agent(slug: str) -> Agent:
    number = Agent.objects.count()
    return Agent.objects.create(
        organization=make_organization(),
        agent_id=f"WowAgent{number}",
        name="Agent",
        display_name="Agent",
        tier=1,
        template_slug=slug,
        template_version="1.0.0",
    )


def test_the_list_has_the_documented_shape(client: Client) -> None:
    AgentTemplate.objects.filter(slug="memory-agent").update(created_at="2025-12-01T00:00:00Z")
    for _ in range(15):
        make_agent("memory-agent")
    answer = client.get(LIST)
    assert answer["Content-Type"] == "application/json"
    body = answer.json()
    assert list(body) == ["templates"]
    memory, blank = body["templates"]
    schema = memory.pop("config_schema")
    assert set(schema["properties"]) == {"memory_type", "retention_days", "max_context_size"}
    assert memory == {
        "id": "memory-agent",
        "name": "Memory Agent",
        "description": "Store and retrieve context with semantic search",
        "use_case": "Context management, conversation history",
        "tier_recommendation": 3,
        "default_capabilities": ["store", "retrieve", "search", "summarize"],
        "default_tools": ["Redis", "VectorDB", "Embeddings"],
        "resource_defaults": {"cpu_cores": 1, "memory_mb": 2048, "storage_gb": 10},
        "created_at": "2025-12-01T00:00:00Z",
        "usage_count": 15,
        "category": "memory",
        "icon": "memory",
        "complexity": "medium",
        "estimated_time": "10 min",
        "required_capabilities": ["store_context", "retrieve_context"],
        "optional_capabilities": ["health_check", "describe_agent"],
        "dependencies": ["redis", "postgresql"],
        "version": "1.0.0",
        "deprecated": False,
    }
    assert b'"cpu_cores":1,' in answer.content
    assert (blank["id"], blank["usage_count"], blank["complexity"]) == ("blank", 0, "high")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"category": "memory"}, ["memory-agent"]),
        ({"category": "data"}, []),
        ({"complexity": "high"}, ["blank"]),
        ({"tier": "3"}, ["memory-agent"]),
        ({"tier": "1", "category": "memory"}, []),
        ({"use_case": "HISTORY"}, ["memory-agent"]),
        ({"q": "scratch"}, ["blank"]),
        ({"q": "Semantic  context"}, ["memory-agent"]),
        ({"q": "vectordb"}, ["memory-agent"]),
        ({"q": "summarize scratch"}, []),
        ({"q": "agent"}, ["memory-agent", "blank"]),
    ],
)
def test_the_list_is_narrowed(client: Client, query: dict[str, str], expected: list[str]) -> None:
    assert ids(client, **query) == expected


@pytest.mark.parametrize(
    ("query", "attr"),
    [
        ({"category": "memories"}, "category"),
        ({"complexity": "extreme"}, "complexity"),
        ({"tier": "0"}, "tier"),
        ({"tier": "6"}, "tier"),
        ({"tier": "three"}, "tier"),
        ({"q": "a" * 101}, "q"),
        ({"q": "a\x00"}, "q"),
        ({"use_case": "a" * 101}, "use_case"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_an_unknown_filter_is_a_problem(client: Client, query: dict[str, str], attr: str) -> None:
    answer = client.get(LIST, query)
    assert answer.status_code == 400
    assert answer["Content-Type"] == "application/problem+json"
    body = answer.json()
    assert body["code"] == "invalid_input"
    assert [error["attr"] for error in body["errors"]] == [attr]


def test_a_template_is_shown_with_everything(client: Client) -> None:
    body = client.get(f"{LIST}/memory-agent").json()
    summary = next(t for t in client.get(LIST).json()["templates"] if t["id"] == "memory-agent")
    assert {key: body[key] for key in summary if key != "description"} == {
        key: value for key, value in summary.items() if key != "description"
    }
    assert body["description"] == "Stores and retrieves context with semantic search"
    store = body["capabilities"][0]
    assert (store["name"], store["label"], store["required"]) == ("store_context", "store", True)
    assert store["input_schema"]["required"] == ["customer_id", "text"]
    assert [s["name"] for s in body["scenarios"]][:2] == ["Store Context", "Retrieve Context"]
    assert body["scenarios"][0]["input"] == {
        "customer_id": "cust-123",
        "text": "Customer wants premium plan",
    }
    assert [c["name"] for c in body["additional_capabilities"]] == [
        "health_check",
        "describe_agent",
    ]
    assert [tool["name"] for tool in body["tools"]] == ["Redis", "VectorDB", "Embeddings API"]
    assert body["defaults"]["policies"]["retry"]["max_attempts"] == 3
    assert body["changelog"].startswith("- Store, retrieve")
    assert body["best_practices"]
    assert body["published_at"]


def test_a_template_is_found_by_its_row_too(client: Client) -> None:
    template = AgentTemplate.objects.get(slug="blank")
    assert client.get(f"{LIST}/{template.id}").json()["id"] == "blank"


@pytest.mark.parametrize("name", ["nothing", "a%00b", "%2e%2e", "x" * 300, "%F0%9F%98%80"])
def test_an_unknown_template_is_not_found(client: Client, name: str) -> None:
    answer = client.get(f"{LIST}/{name}")
    assert (answer.status_code, answer.json()["code"]) == (404, "template_not_found")
    assert answer["Content-Type"] == "application/problem+json"


def test_a_deprecated_template_is_shown_but_not_listed(client: Client) -> None:
    deprecate_version(actor=None, version=template_for("blank")[1])
    assert ids(client) == ["memory-agent"]
    assert client.get(f"{LIST}/blank").json()["deprecated"] is True
    assert client.get(f"{LIST}/memory-agent").json()["deprecated"] is False


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_the_library_is_read_only(client: Client, method: str) -> None:
    assert getattr(client, method)(LIST).status_code == 405
    assert getattr(client, method)(f"{LIST}/blank").status_code == 405


def test_a_stale_token_does_not_keep_anybody_out(client: Client) -> None:
    assert client.get(LIST, headers={"Authorization": "Bearer stale"}).status_code == 200


def test_the_number_of_queries_does_not_grow(client: Client) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert client.get(LIST).status_code == 200
        return len(captured)

    client.get(LIST)
    few = queries()
    source = template_for("blank")[1]
    for number in range(20):
        slug = f"blank-{number}"
        template = AgentTemplate.objects.create(
            slug=slug, name=slug, category="custom", complexity="low", icon="note_add"
        )
        definition = source.definition | {"slug": slug}
        TemplateVersion.objects.create(
            template=template,
            version="1.0.0",
            status="published",
            definition=definition,
            digest=version_digest(definition, {}),
        )
        make_agent(slug)
    forget_definitions()
    assert queries() == few + 1, "all definitions that are new come with one query"
    assert queries() == few == 2
    assert len(ids(client)) == 22
