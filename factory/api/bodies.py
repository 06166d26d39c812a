"""Request bodies: typed, strict, with problems that say what to do."""

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from factory.cost import MAX_DURATION_SECONDS, MAX_REQUESTS_PER_MONTH
from factory.field_messages import spec_problems
from ledger.errors import FieldProblem, InvalidInput
from registry.json_bounds import check_json_bounds
from registry.spec import Resources, canonical_json

Model = TypeVar("Model", bound=BaseModel)
Json = dict[str, JsonValue]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class UsageEstimates(_Body):
    """How much the agent is expected to be called."""

    requests_per_month: int = Field(default=100_000, ge=0, le=MAX_REQUESTS_PER_MONTH)
    avg_duration_seconds: float = Field(default=2, ge=0, le=MAX_DURATION_SECONDS)


class CostRequest(_Body):
    """What to price."""

    tier: int = Field(ge=1, le=5)
    resources: Resources = Resources()
    usage_estimates: UsageEstimates = UsageEstimates()


class ScenarioCall(_Body):
    """A call made before a scenario, not judged."""

    capability: str = Field(max_length=64)
    input: Json = Field(default_factory=dict)


class ScenarioRequest(_Body):
    """One scenario: what to ask and what to expect."""

    name: str = Field(max_length=100)
    capability: str = Field(
        default="", max_length=64, description="Taken from the name when it is left out."
    )
    input: Json = Field(default_factory=dict)
    expected_output: Json | None = Field(
        default=None, description="What the output has to contain; null expects any valid one."
    )
    setup: tuple[ScenarioCall, ...] = Field(default=(), max_length=10)


class TestRequest(_Body):
    """An agent's configuration and the scenarios to run against it."""

    __test__ = False

    agent_config: Json
    test_scenarios: tuple[ScenarioRequest, ...] | None = Field(
        default=None,
        max_length=50,
        description="Those of the template and of the capabilities' examples when left out.",
    )


class DeployRequest(_Body):
    """How to deploy."""

    skip_test_reason: str | None = Field(
        default=None, max_length=500, description="Why the sandbox test is skipped; kept on record."
    )


class EmptyRequest(_Body):
    """Nothing to say."""


def parse(model: type[Model], data: Any) -> Model:
    """Return ``data`` as the typed body.

    Raises:
        InvalidInput: it does not fit; ``problems`` name the fields.

    """
    body = json_object(data)
    try:
        return model.model_validate_json(canonical_json(body), strict=True)
    except ValidationError as error:
        problems = tuple(spec_problems(error))
        raise InvalidInput(
            "invalid_input",
            problems[0].detail if len(problems) == 1 else "Some fields need attention.",
            problems=problems,
        ) from None


def json_object(data: Any) -> dict[str, Any]:
    """Return ``data`` if it is a JSON object of a sensible size.

    Raises:
        InvalidInput: it is something else, or too large to walk.

    """
    if not isinstance(data, dict):
        raise InvalidInput("invalid_input", 'Send a JSON object, as in {"name": "My Agent"}.')
    try:
        return dict(check_json_bounds(data))
    except ValueError as error:
        raise InvalidInput("invalid_input", str(error)) from None


def under(prefix: str, error: InvalidInput) -> InvalidInput:
    """Return ``error`` with its problems' paths below ``prefix``."""
    problems = tuple(
        FieldProblem(f"{prefix}.{item.attr}".rstrip("."), item.code, item.detail)
        for item in error.problems
    )
    return InvalidInput(error.code, error.message, problems=problems)
