"""Every field of what an agent is asked to be: at its bounds, beyond them, of another type.

The cases are made from the specification's own JSON Schema, so that a new field is covered by being
there, and go through the public API.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from django.test import Client

from factory.compilation import REQUEST_FIELDS
from registry.models import Release
from registry.spec_schema import spec_json_schema
from tests.builders import install, make_caller

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.django_db

FACTORY = "/api/platform/agent-factory"
SCHEMA = spec_json_schema()
OBJECT = {"type": "object"}
# One of everything, so that every path of the schema is there to be changed.
REQUEST: dict[str, Any] = {
    "template_id": "blank",
    "agent_id": "WowBounds",
    "name": "Bounds Agent",
    "display_name": "Bounds Agent",
    "description": "What it does.",
    "goal": "Why it does it.",
    "tier": 3,
    "tags": ["bounds"],
    "industry": "retail",
    "domain": "support",
    "languages": ["en"],
    "capabilities": [
        {
            "name": f"by_{kind}",
            "description": "Do it.",
            "input_schema": OBJECT,
            "output_schema": OBJECT,
            "examples": [{"input": {}, "output": {}}],
            "timeout_seconds": 10,
            "implementation": {"kind": kind, **how},
        }
        for kind, how in (
            ("builtin", {"operation": "agent.describe"}),
            ("prompt", {"instructions": "Answer.", "temperature": 0}),
            ("http", {"method": "GET", "url": "https://a.example/", "headers": {"x-a": "b"}}),
        )
    ],
    "tools": [{"tool": "redis", "parameters": {}}],
    "memory": {"kind": "short_term"},
    "resources": {"cpu_cores": 1},
    "queues": {"priority": "NORMAL"},
    "policies": {"retry": {"max_attempts": 3}, "timeouts": {"operation_seconds": 30}},
    "environment": [{"name": "MODE", "value": "plain"}],
    "packages": ["requests==2.32.0"],
    "config": {},
}
# The platform's own part of a specification.
NOT_ASKED_FOR = {"spec_version", "template"}
KINDS = {"builtin": 0, "prompt": 1, "http": 2}
OF_A_TYPE: dict[str, Any] = {
    "null": None, "boolean": True, "integer": 7, "number": 7.5, "string": "text", "array": [],
    "object": {},
}  # fmt: skip
# What the API takes besides, and the specification does not.
SHORT_FORMS = {
    "capabilities.0": {"string"}, "tools.0": {"string"}, "environment": {"object"},
}  # fmt: skip


@dataclass(frozen=True)
class Place:
    """A field by its dotted path, with the schemas of what it may be."""

    path: str
    branches: tuple[dict[str, Any], ...]

    @property
    def types(self) -> set[str]:
        found = {str(branch.get("type", "string")) for branch in self.branches}
        return found | ({"integer"} if "number" in found else set())


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[-1]
        return {**SCHEMA["$defs"][name], **{k: v for k, v in schema.items() if k != "$ref"}}
    return schema


def places(schema: dict[str, Any], path: str = "") -> Iterator[Place]:
    """Yield every field below ``path``."""
    schema = resolved(schema)
    if "discriminator" in schema:
        for branch in schema["oneOf"]:
            kind = resolved(branch)["properties"]["kind"]["const"]
            yield from places(branch, path.replace(".0.", f".{KINDS[kind]}."))
        return
    branches = tuple(resolved(item) for item in schema.get("anyOf", [schema]))
    if path:
        yield Place(path, branches)
    for branch in branches:
        for name, below in branch.get("properties", {}).items():
            if path or name not in NOT_ASKED_FOR:
                yield from places(below, f"{path}.{name}".lstrip("."))
        if isinstance(branch.get("items"), dict):
            yield from places(branch["items"], f"{path}.0")


PLACES = list(places(SCHEMA))


def refused_values(place: Place) -> Iterator[tuple[str, Any]]:
    """Yield what is beyond the field's bounds, with a word for it."""
    for kind, value in OF_A_TYPE.items():
        if kind not in place.types | SHORT_FORMS.get(place.path, set()):
            yield f"a {kind}", value
    for branch in place.branches:
        kind = branch.get("type", "string")
        if kind in ("integer", "number"):
            yield from _refused_numbers(branch)
        elif kind == "string":
            yield from _refused_texts(branch)
        elif kind == "array":
            yield from _refused_lists(branch, value_at(place.path))
        elif branch.get("additionalProperties") is False:
            yield "an unknown field", {**value_at(place.path), "surprise": 1}


def _refused_numbers(schema: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    whole = schema["type"] == "integer"
    for key, sign in (("minimum", -1), ("maximum", 1)):
        if key in schema:
            yield key, schema[key] + sign * (1 if whole else 0.001)
    if whole:
        yield "a fraction", schema.get("minimum", 1) + 0.5
    yield "huge", 10**400


def _refused_texts(schema: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    if "maxLength" in schema:
        yield "too long", "a" * (schema["maxLength"] + 1)
    if "minLength" in schema:
        yield "too short", ""
    if schema.keys() & {"pattern", "enum", "const"}:
        yield "another word", "~ no such thing ~"
    yield "a NUL", "a\x00b"
    yield "half a character", "a\ud800b"


def _refused_lists(schema: dict[str, Any], value: list[Any]) -> Iterator[tuple[str, Any]]:
    if "maxItems" in schema:
        yield "too many", value[:1] * (schema["maxItems"] + 1)
    if "minItems" in schema:
        yield "too few", []


def accepted_values(place: Place) -> Iterator[tuple[str, Any]]:
    """Yield what is just within the field's bounds."""
    for branch in place.branches:
        for key in ("minimum", "maximum"):
            if key in branch:
                yield key, branch[key]
        if "pattern" not in branch and "format" not in branch:
            for key in ("minLength", "maxLength"):
                if branch.get(key):
                    yield key, "a" * branch[key]
        for word in branch.get("enum", ()):
            yield "a word of its own", word
        of_texts = resolved(branch.get("items") or {}).get("type") == "string"
        if of_texts and "maxItems" in branch:
            yield "as many", value_at(place.path)[:1] * branch["maxItems"]


def steps_of(path: str) -> list[str | int]:
    return [int(step) if step.isdigit() else step for step in path.split(".")]


def value_at(path: str) -> Any:
    value: Any = REQUEST
    for step in steps_of(path):
        value = value[step] if isinstance(step, int) else value.get(step, {})
    return value


def with_value(path: str, value: Any) -> str:
    """Return the request as JSON, with this value at the path."""
    request = copy.deepcopy(REQUEST)
    *way, last = steps_of(path)
    below: Any = request
    for step in way:
        below = below[step] if isinstance(step, int) else below.setdefault(step, {})
    below[last] = value
    return json.dumps(request)


@pytest.fixture
def api() -> Client:
    install()
    client = Client()
    caller = make_caller()
    assert caller.user is not None
    client.force_login(caller.user)
    return client


def faults(api: Client, body: str, path: str) -> list[str]:
    """Return what the API says is wrong at the path, above or below it."""
    answer = api.post(f"{FACTORY}/validate", body, content_type="application/json")
    if answer.status_code == 400:  # refused before it was judged: no JSON that could be stored
        return [answer.json()["detail"]]
    assert answer.status_code == 200, answer.content[:300]
    said = answer.json()
    assert said["valid"] is not any(item["severity"] == "error" for item in said["findings"])
    return [
        item["message"]
        for item in said["findings"]
        if (item["severity"], item["tier"]) == ("error", "structure")
        and (f"{item['field']}.".startswith(f"{path}.") or f"{path}.".startswith(item["field"]))
    ]


def test_the_request_that_is_changed_is_good(api: Client) -> None:
    assert faults(api, json.dumps(REQUEST), "") == []
    asked_for = {place.path for place in PLACES if "." not in place.path}
    assert asked_for | {"template_id"} == REQUEST_FIELDS == REQUEST.keys()
    assert len(PLACES) > 50


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.path)
def test_beyond_its_bounds(place: Place, api: Client) -> None:
    values = dict(refused_values(place))
    assert values
    for word, value in values.items():
        body = with_value(place.path, value)
        assert faults(api, body, place.path), f"{word} is accepted"
        created = api.post(f"{FACTORY}/agents", body, content_type="application/json")
        assert created.status_code == 400, (word, created.content[:300])
        assert created["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.path)
def test_at_its_bounds(place: Place, api: Client) -> None:
    for word, value in accepted_values(place):
        assert faults(api, with_value(place.path, value), place.path) == [], word


HOSTILE_TEXTS = [
    "He said \"yes\" and 'no'",
    '"""',
    "\\",
    "{{ 7 * 7 }}{% raw %}{#",
    "${HOME} $(id) `id`",
    "{0.__class__} %s %(name)s",
    "'; DROP TABLE registry_agent; --",
    "<script>alert(1)</script>&amp;",
    "🤖 Agent ﷽ é",
    "../../etc/passwd",
    "# noqa \t tab",
]


@pytest.mark.parametrize("text", HOSTILE_TEXTS)
def test_names_that_mean_something_elsewhere(text: str, api: Client) -> None:
    named = {**REQUEST, "name": text, "display_name": text, "description": text, "goal": text}
    named["skip_test_reason"] = text
    named["capabilities"] = copy.deepcopy(REQUEST["capabilities"][:1])
    named["capabilities"][0]["description"] = text
    created = api.post(f"{FACTORY}/agents", named, content_type="application/json")

    assert created.status_code == 202, created.content
    shown = api.get("/api/agents/WowBounds").json()
    assert [shown[key] for key in ("name", "display_name", "description")] == [text] * 3
    files = Release.objects.get(agent__agent_id="WowBounds").files
    assert files
    for path, content in files.items():
        if path.endswith(".py"):
            compile(content, path, "exec")
    assert api.get("/agents/WowBounds").status_code == 200
    assert b"<script>alert" not in api.get("/agents/WowBounds").content


@pytest.mark.parametrize("text", ["one\nline", "a\rb", "\x1b[31m", "a\u2028b", " "])
def test_names_that_are_no_line_of_text(text: str, api: Client) -> None:
    named = {**REQUEST, "name": text}
    answer = api.post(f"{FACTORY}/agents", named, content_type="application/json")

    assert answer.status_code == 400
    assert "name" in {error["attr"] for error in answer.json()["errors"]}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nonsense"},
        {"type": "object", "properties": []},
        {"type": "object", "properties": {"a": {"pattern": "("}}},
        {"type": "object", "properties": {"a": {"minimum": "x"}}},
        {"type": "object", "$ref": "https://a.example/schema.json"},
        {"type": "object", "$ref": "#/$defs/gone"},
        {"type": "object", "required": "name"},
        {"type": "array", "items": {}},
        {"type": "object", "properties": {"a": {"$ref": "#"}}, "allOf": [{"$ref": "#"}]},
        {"field": "no such type"},
    ],
)
@pytest.mark.parametrize("side", ["input_schema", "output_schema"])
def test_schemas_that_are_none(side: str, schema: dict[str, Any], api: Client) -> None:
    path = f"capabilities.0.{side}"
    assert faults(api, with_value(path, schema), path)
