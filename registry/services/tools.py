"""The tool registry: what agents may use, and whether a connection works."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.db.models import QuerySet
from django.db.models.functions import Lower

from accounts.callers import Caller
from accounts.roles import Action
from ledger.errors import DomainError, FieldProblem, InvalidInput, NotFound
from registry.enums import ToolKind
from registry.json_bounds import check_json_bounds
from registry.models import Tool
from registry.schemas import SchemaValidator
from registry.services.secrets import reveal_for_use
from registry.tool_checks import ToolCheck, check_connection

__all__ = [
    "ToolCheck",
    "active_tools",
    "check_parameters",
    "load_tools",
    "test_tool",
    "tool_for",
]


@dataclass(frozen=True)
class _BuiltIn:
    slug: str
    name: str
    description: str
    kind: ToolKind
    parameters_schema: dict[str, Any]
    accepts_secret: bool = False


_NOTHING: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {},
    "additionalProperties": False,
}
_BASE_URL: Final = {
    "type": "string",
    "title": "Base URL",
    "description": "As in https://api.example.com/v1.",
    "pattern": "^https?://",
    "maxLength": 2000,
}
_MODEL: Final = {
    "type": "string",
    "title": "Model",
    "description": "The model's name as the service knows it.",
    "minLength": 1,
    "maxLength": 200,
}

BUILT_IN: Final = (
    _BuiltIn(
        "redis",
        "Redis",
        "Short-term memory and queues. The platform brings it.",
        ToolKind.REDIS,
        _NOTHING,
    ),
    _BuiltIn(
        "postgresql",
        "PostgreSQL",
        "Long-term memory. The platform brings it.",
        ToolKind.POSTGRESQL,
        _NOTHING,
    ),
    _BuiltIn(
        "vectordb",
        "VectorDB",
        "Similarity search (pgvector). The platform brings it.",
        ToolKind.VECTOR_STORE,
        _NOTHING,
    ),
    _BuiltIn(
        "embeddings-api",
        "Embeddings API",
        "An OpenAI-compatible service that turns text into vectors.",
        ToolKind.EMBEDDINGS,
        {
            "type": "object",
            "properties": {
                "base_url": _BASE_URL,
                "model": _MODEL,
                "dimensions": {
                    "type": "integer",
                    "title": "Dimensions",
                    "description": "Length of the vectors, when the model lets one choose.",
                    "minimum": 1,
                    "maximum": 16000,
                },
            },
            "required": ["base_url", "model"],
            "additionalProperties": False,
        },
        accepts_secret=True,
    ),
    _BuiltIn(
        "chat-model",
        "Chat model",
        "An OpenAI-compatible model that answers prompts.",
        ToolKind.CHAT_MODEL,
        {
            "type": "object",
            "properties": {"base_url": _BASE_URL, "model": _MODEL},
            "required": ["base_url", "model"],
            "additionalProperties": False,
        },
        accepts_secret=True,
    ),
    _BuiltIn(
        "http-api",
        "HTTP API",
        "Any HTTP service; capabilities name the address that they call.",
        ToolKind.HTTP,
        {
            "type": "object",
            "properties": {"base_url": _BASE_URL},
            "required": ["base_url"],
            "additionalProperties": False,
        },
        accepts_secret=True,
    ),
)


def load_tools() -> int:
    """Add the built-in tools that are missing; return how many. What is there stays as it is."""
    present = set(Tool.objects.values_list("slug", flat=True))
    missing = [
        Tool(
            slug=tool.slug,
            name=tool.name,
            description=tool.description,
            kind=tool.kind,
            parameters_schema=tool.parameters_schema,
            accepts_secret=tool.accepts_secret,
        )
        for tool in BUILT_IN
        if tool.slug not in present
    ]
    return len(Tool.objects.bulk_create(missing, ignore_conflicts=True))


def active_tools() -> QuerySet[Tool]:
    """Return the tools that can be chosen, by name."""
    return Tool.objects.filter(is_active=True).order_by(Lower("name"))


def tool_for(slug: str) -> Tool:
    """Return the tool that can be chosen under ``slug``.

    Raises:
        NotFound: ``tool_not_found``; there is none, or it is switched off.

    """
    found = next((tool for tool in active_tools() if tool.slug == slug), None)
    if found is None:
        known = ", ".join(active_tools().values_list("slug", flat=True))
        raise NotFound("tool_not_found", f"There is no such tool. Choose one of: {known}.")
    return found


def check_parameters(
    tool: Tool, parameters: Mapping[str, Any], *, attr: str = "parameters"
) -> list[FieldProblem]:
    """Return what is wrong with ``parameters``; ``attr`` is where they stand in the request."""
    problems = []
    try:
        check_json_bounds(dict(parameters))
    except ValueError as error:
        return [FieldProblem(attr, "invalid", str(error))]
    schema = tool.parameters_schema or {"type": "object"}
    for found in SchemaValidator(schema).iter_errors(dict(parameters)):
        where = ".".join(str(part) for part in found.absolute_path)
        problems.append(
            FieldProblem(f"{attr}.{where}" if where else attr, "invalid", _sentence(tool, found))
        )
    return problems


def _sentence(tool: Tool, error: Any) -> str:
    field = error.absolute_path[-1] if error.absolute_path else ""
    if error.validator == "required":
        missing = [name for name in error.validator_value if name not in error.instance]
        return f"{tool.name} also needs: {', '.join(missing)}."
    if error.validator == "additionalProperties":
        known = ", ".join(error.schema.get("properties", {})) or "none"
        return f"{tool.name} does not know some of these parameters. It takes: {known}."
    if error.validator == "pattern" and field == "base_url":
        return "Give an address that begins with https:// or http://."
    return f"{tool.name}: {field or 'the parameters'}: {str(error.message)[:200]}."


def test_tool(
    *, caller: Caller, tool: str, parameters: Mapping[str, Any], secret: str | None
) -> ToolCheck:
    """Connect to the tool with ``parameters`` and the secret named ``secret``, for real.

    Returns what came of it; a connection that fails is an answer, not an error. Takes up to about
    ten seconds.

    Raises:
        NotAllowed: the role does not include creating agents.
        NotFound: ``tool_not_found``.
        InvalidInput: the parameters do not fit the tool, or there is no such secret.

    """
    caller.require(Action.CREATE_AGENTS)
    row = tool_for(tool)
    if problems := check_parameters(row, parameters):
        raise InvalidInput("invalid_input", problems[0].detail, problems=tuple(problems))
    value = None
    if secret:
        try:
            value = reveal_for_use(organization=caller.organization, name=secret)
        except NotFound as error:
            raise InvalidInput.of_field("secret", error.code, error.message) from None
    try:
        return check_connection(ToolKind(row.kind), parameters, value)
    except DomainError as error:
        return ToolCheck(ok=False, detail=error.message)


test_tool.__test__ = False  # type: ignore[attr-defined]  # pytest would take it for a test
