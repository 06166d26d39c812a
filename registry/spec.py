"""AgentSpec: what an agent *is*, as one frozen, typed, canonical document.

A blueprint compiles into an ``AgentSpec``; everything below the factory (rendering, the sandbox,
provisioning, the agent itself) receives this and never the blueprint. Its canonical JSON has one
spelling per meaning, so its SHA-256 digest names the agent's behaviour: the deploy gate, the
release and the running agent all speak of the same digest.

The JSON Schema of this document is exported to ``agent_runtime/spec.schema.json`` (see
``registry.spec_schema``), against which the program inside every agent checks what it is given.
"""

import hashlib
import json
import re
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    HttpUrl,
    JsonValue,
    StringConstraints,
    model_validator,
)

from registry.json_bounds import check_json_bounds
from registry.schemas import check_json_schema

SPEC_VERSION: Final = 1

AGENT_ID_PATTERN: Final = r"^[A-Za-z][A-Za-z0-9_-]{2,63}$"
CAPABILITY_NAME_PATTERN: Final = r"^[a-z][a-z0-9_]{0,62}[a-z0-9]$"
SECRET_NAME_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$"  # noqa: S105 - of the name
ENVIRONMENT_NAME_PATTERN: Final = r"^[A-Z][A-Z0-9_]{0,63}$"
# PEP 508 name with an optional exact version; nothing that could name an address or a path.
PACKAGE_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}(==[A-Za-z0-9.!+_-]{1,50})?$"

_CONTROL_CHARACTERS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u2028\u2029]")


def _printable(value: str) -> str:
    """Refuse control characters, which no person types and every log and terminal suffers from."""
    if _CONTROL_CHARACTERS.search(value):
        raise ValueError("Remove the control characters from this text.")
    return value


def _one_line(value: str) -> str:
    if "\n" in value:
        raise ValueError("Write this on one line.")
    return _printable(value)


type_line = StringConstraints(strip_whitespace=True)
Line = Annotated[str, type_line, AfterValidator(_one_line)]
Text = Annotated[str, type_line, AfterValidator(_printable)]
Tag = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=40),
    AfterValidator(_one_line),
]
CapabilityName = Annotated[str, Field(pattern=CAPABILITY_NAME_PATTERN)]
Slug = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
SecretName = Annotated[str, Field(pattern=SECRET_NAME_PATTERN)]
JsonObject = Annotated[dict[str, JsonValue], AfterValidator(check_json_bounds)]
JsonSchema = Annotated[
    dict[str, JsonValue], AfterValidator(check_json_bounds), AfterValidator(check_json_schema)
]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class TemplateRef(_Frozen):
    """The template version that the agent was made from."""

    slug: Slug
    version: Line = Field(min_length=1, max_length=32)


class BuiltinOperation(StrEnum):
    """What an agent can do by itself, without a model or another service."""

    MEMORY_STORE = "memory.store"
    MEMORY_RETRIEVE = "memory.retrieve"
    MEMORY_SEARCH = "memory.search"
    MEMORY_SUMMARIZE = "memory.summarize"
    AGENT_DESCRIBE = "agent.describe"
    AGENT_HEALTH = "agent.health"


class BuiltinImplementation(_Frozen):
    """Done by the agent's own runtime."""

    kind: Literal["builtin"] = "builtin"
    operation: BuiltinOperation


class PromptImplementation(_Frozen):
    """Done by the connected OpenAI-compatible model, answering in the output schema."""

    kind: Literal["prompt"] = "prompt"
    instructions: Text = Field(min_length=1, max_length=8000)
    temperature: float = Field(default=0.0, ge=0, le=2)


class HttpImplementation(_Frozen):
    """Done by an HTTP service; the input becomes the query (GET) or the JSON body (others)."""

    kind: Literal["http"] = "http"
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "POST"
    url: HttpUrl
    headers: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$")], Line] = Field(
        default_factory=dict, max_length=20
    )
    secret: SecretName | None = Field(
        default=None, description="Name of the secret sent as a bearer token; never its value."
    )


Implementation = Annotated[
    BuiltinImplementation | PromptImplementation | HttpImplementation, Field(discriminator="kind")
]


class Example(_Frozen):
    """One input with the output that it should give; also the sandbox's answer for a mock."""

    input: JsonObject
    output: JsonObject


class Capability(_Frozen):
    """One thing the agent can be asked to do."""

    name: CapabilityName
    description: Text = Field(default="", max_length=500)
    input_schema: JsonSchema
    output_schema: JsonSchema
    examples: tuple[Example, ...] = Field(default=(), max_length=10)
    timeout_seconds: float = Field(default=30, ge=0.1, le=600)
    implementation: Implementation


class ToolBinding(_Frozen):
    """A tool of the tool registry, with its parameters and the name of its secret."""

    tool: Slug
    parameters: JsonObject = Field(default_factory=dict)
    secret: SecretName | None = None


class MemoryKind(StrEnum):
    """How an agent remembers."""

    NONE = "none"
    SHORT_TERM = "short_term"
    LONG_TERM = "long_term"
    HYBRID = "hybrid"


class Memory(_Frozen):
    """Short-term memory lives in Redis, long-term memory in PostgreSQL (pgvector)."""

    kind: MemoryKind = MemoryKind.NONE
    ttl_seconds: int = Field(default=86_400, ge=60, le=31_536_000)
    retention_days: int = Field(default=30, ge=1, le=3650)
    capacity_items: int = Field(default=100_000, ge=1, le=10_000_000)
    max_context_size: int = Field(
        default=10_000, ge=100, le=1_000_000, description="Characters that one summary reads."
    )

    @property
    def uses_redis(self) -> bool:
        """Whether there is a short-term memory."""
        return self.kind in (MemoryKind.SHORT_TERM, MemoryKind.HYBRID)

    @property
    def uses_postgresql(self) -> bool:
        """Whether there is a long-term memory."""
        return self.kind in (MemoryKind.LONG_TERM, MemoryKind.HYBRID)


class Resources(_Frozen):
    """What the agent's container is given. The platform's bounds."""

    cpu_cores: float = Field(default=1, ge=0.5, le=4)
    memory_mb: int = Field(default=512, ge=512, le=8192)
    storage_gb: int = Field(default=1, ge=1, le=100)


class Priority(StrEnum):
    """Which command the agent takes first when it is busy."""

    HIGH = "HIGH"
    NORMAL = "NORMAL"
    LOW = "LOW"


class Queues(_Frozen):
    """The command queue."""

    priority: Priority = Priority.NORMAL
    max_concurrency: int = Field(default=5, ge=1, le=50)


class Retry(_Frozen):
    """How often a failed call is tried, the first try included."""

    max_attempts: int = Field(default=3, ge=1, le=10)
    backoff: Literal["exponential", "fixed"] = "exponential"
    initial_seconds: float = Field(default=0.5, ge=0.01, le=60)


class Timeouts(_Frozen):
    """Seconds; a capability's own timeout is the smaller of its own and ``operation``."""

    operation_seconds: float = Field(default=30, ge=0.1, le=600)
    workflow_seconds: float = Field(default=300, ge=1, le=3600)


class Policies(_Frozen):
    """Retry, timeouts, rate limit and network isolation."""

    retry: Retry = Retry()
    timeouts: Timeouts = Timeouts()
    rate_limit_per_minute: int = Field(default=100, ge=1, le=100_000)
    network: Literal["internal"] = "internal"


class EnvironmentVariable(_Frozen):
    """A plain setting of the agent's process. Secrets have a place of their own."""

    name: Annotated[str, Field(pattern=ENVIRONMENT_NAME_PATTERN)]
    value: Line = Field(max_length=1000)


class AgentSpec(_Frozen):
    """Everything that decides how an agent behaves. Equal specs have equal digests."""

    spec_version: Literal[1] = SPEC_VERSION
    agent_id: Annotated[str, Field(pattern=AGENT_ID_PATTERN)]
    name: Line = Field(min_length=1, max_length=100)
    display_name: Line = Field(min_length=1, max_length=100)
    description: Text = Field(default="", max_length=200)
    goal: Text = Field(default="", max_length=2000)
    tier: int = Field(ge=1, le=5)
    template: TemplateRef
    tags: tuple[Tag, ...] = Field(default=(), max_length=20)
    industry: Line = Field(default="", max_length=80)
    domain: Line = Field(default="", max_length=80)
    languages: tuple[Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$")], ...] = (
        Field(default=("en",), max_length=20)
    )
    capabilities: tuple[Capability, ...] = Field(min_length=1, max_length=50)
    tools: tuple[ToolBinding, ...] = Field(default=(), max_length=30)
    memory: Memory = Memory()
    resources: Resources = Resources()
    queues: Queues = Queues()
    policies: Policies = Policies()
    environment: tuple[EnvironmentVariable, ...] = Field(default=(), max_length=50)
    packages: tuple[Annotated[str, Field(pattern=PACKAGE_PATTERN)], ...] = Field(
        default=(), max_length=20
    )
    config: JsonObject = Field(
        default_factory=dict, description="Values of the template's own configuration schema."
    )

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        for label, names in (
            ("capability", [c.name for c in self.capabilities]),
            ("tool", [t.tool for t in self.tools]),
            ("environment variable", [e.name for e in self.environment]),
        ):
            seen: set[str] = set()
            for name in names:
                if name in seen:
                    raise ValueError(f"The {label} {name!r} is there twice. Keep one of them.")
                seen.add(name)
        return self

    def capability(self, name: str) -> Capability | None:
        """Return the capability called ``name``, or ``None``."""
        return next((c for c in self.capabilities if c.name == name), None)

    def to_json_dict(self) -> dict[str, Any]:
        """Return the spec as plain JSON values, every field present."""
        return self.model_dump(mode="json")

    def canonical_json(self) -> str:
        """Return the one spelling of this spec: sorted keys, no blanks, UTF-8, floats as given.

        Whole numbers in float fields are written as integers, so 1 and 1.0 mean the same agent.
        """
        return canonical_json(self.to_json_dict())

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON, 64 hexadecimal digits."""
        return hashlib.sha256(self.canonical_json().encode()).hexdigest()


def _normalised(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _normalised(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_normalised(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def canonical_json(value: Any) -> str:
    """Return ``value`` in the one spelling that digests are made of."""
    return json.dumps(
        _normalised(value),
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
        allow_nan=False,
    )
