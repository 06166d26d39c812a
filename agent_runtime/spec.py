"""The agent's specification as the runtime reads it from ``spec.json``.

The file was made by the platform and says everything that decides how the agent behaves. Here it
is only read; ``spec_check`` holds it against the JSON Schema that both sides share.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Self

from agent_runtime.errors import StartError

MAX_SPEC_BYTES: Final = 8 * 1_048_576

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Capability:
    """One thing the agent can be asked to do. ``timeout`` in seconds, policies counted in."""

    name: str
    description: str
    input_schema: JsonObject
    output_schema: JsonObject
    examples: tuple[JsonObject, ...]
    timeout: float
    implementation: JsonObject

    @property
    def kind(self) -> str:
        """``builtin``, ``prompt`` or ``http``."""
        return str(self.implementation.get("kind", "builtin"))

    def to_json(self) -> JsonObject:
        """Return what a caller needs to know in order to call it."""
        return {
            "name": self.name,
            "description": self.description,
            "kind": self.kind,
            "input_schema": self.input_schema,
            "output_schema": self.output_schema,
            "examples": list(self.examples),
            "timeout_seconds": self.timeout,
        }


@dataclass(frozen=True, slots=True)
class Memory:
    """What the agent remembers and for how long."""

    kind: Literal["none", "short_term", "long_term", "hybrid"] = "none"
    ttl_seconds: int = 86_400
    retention_days: int = 30
    capacity_items: int = 100_000
    max_context_size: int = 10_000

    @property
    def uses_redis(self) -> bool:
        """Whether there is a short-term memory."""
        return self.kind in ("short_term", "hybrid")

    @property
    def uses_postgresql(self) -> bool:
        """Whether there is a long-term memory."""
        return self.kind in ("long_term", "hybrid")


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a call to another service is tried, the first try included."""

    max_attempts: int = 3
    backoff: Literal["exponential", "fixed"] = "exponential"
    initial_seconds: float = 0.5


@dataclass(frozen=True, slots=True)
class Spec:
    """The parts of the specification that the runtime acts on; ``raw`` is the whole of it."""

    raw: JsonObject
    agent_id: str
    digest: str
    capabilities: dict[str, Capability]
    memory: Memory
    retry: Retry
    rate_limit_per_minute: int
    max_concurrency: int

    @classmethod
    def from_json(cls, raw: JsonObject) -> Self:
        """Read a specification that holds to the schema; left-out fields have their defaults."""
        policies = raw.get("policies", {})
        operation = float(policies.get("timeouts", {}).get("operation_seconds", 30))
        capabilities = {
            item["name"]: Capability(
                name=item["name"],
                description=item.get("description", ""),
                input_schema=item["input_schema"],
                output_schema=item["output_schema"],
                examples=tuple(item.get("examples", ())),
                timeout=min(float(item.get("timeout_seconds", 30)), operation),
                implementation=item["implementation"],
            )
            for item in raw["capabilities"]
        }
        return cls(
            raw=raw,
            agent_id=raw["agent_id"],
            digest=digest_of(raw),
            capabilities=capabilities,
            memory=Memory(**raw.get("memory", {})),
            retry=Retry(**policies.get("retry", {})),
            rate_limit_per_minute=policies.get("rate_limit_per_minute", 100),
            max_concurrency=raw.get("queues", {}).get("max_concurrency", 5),
        )

    def has_kind(self, kind: str) -> bool:
        """Whether any capability is done this way."""
        return any(capability.kind == kind for capability in self.capabilities.values())


def read_spec_file(path: Path) -> JsonObject:
    """Return the JSON object in ``path``, not yet held against the schema.

    Raises:
        StartError: no such file, too large, or not a JSON object.

    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_SPEC_BYTES + 1)
    except OSError as error:
        raise StartError(
            f"The specification {path} cannot be read ({error.strerror}): "
            "set AGENT_SPEC_FILE to a readable file."
        ) from error
    if len(text) > MAX_SPEC_BYTES:
        raise StartError(f"The specification {path} is larger than {MAX_SPEC_BYTES} bytes.")
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StartError(f"The specification {path} is not valid JSON: {error}.") from error
    if not isinstance(raw, dict):
        raise StartError(f"The specification {path} is not a JSON object.")
    return raw


def digest_of(raw: JsonObject) -> str:
    """SHA-256 of the canonical JSON: sorted keys, no blanks, whole floats as integers."""
    text = json.dumps(
        _normalised(raw), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return hashlib.sha256(text.encode()).hexdigest()


def _normalised(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _normalised(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_normalised(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
