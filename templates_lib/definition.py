"""TemplateDefinition: everything a template version says, as one frozen, typed document.

Its defaults are a partial ``AgentSpec``: whatever an operator does not send is taken from here.
A definition is only valid if it deploys as it is, so its defaults with a name and an id are
compiled to a specification each time one is read.

``config_schema`` is a JSON Schema of what a template asks beside the common fields; some of its
properties are another name of a specification field (see ``templates_lib.config_fields``).
"""

import copy
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Annotated, Any, Final, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    model_validator,
)

from ledger.errors import FieldProblem, InvalidInput
from registry.json_bounds import check_json_bounds
from registry.spec import (
    AgentSpec,
    Capability,
    CapabilityName,
    EnvironmentVariable,
    JsonObject,
    JsonSchema,
    Line,
    Memory,
    Policies,
    Queues,
    Resources,
    Slug,
    Tag,
    TemplateRef,
    Text,
    ToolBinding,
    canonical_json,
)
from templates_lib.config_fields import check_config_schema, put_value, spec_paths, value_at
from templates_lib.definition_checks import (
    DefinitionError,
    definition_problems,
    problems_of,
    schema_problems,
)
from templates_lib.enums import Category, Complexity

VERSION_PATTERN: Final = r"^(0|[1-9][0-9]{0,3})\.(0|[1-9][0-9]{0,3})\.(0|[1-9][0-9]{0,3})$"
LANGUAGE_PATTERN: Final = r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


ConfigSchema = Annotated[JsonSchema, AfterValidator(check_config_schema)]
ShortLine = Annotated[Line, Field(min_length=1, max_length=40)]
Paragraph = Annotated[Text, Field(min_length=1, max_length=1000)]


def _no_configuration() -> dict[str, JsonValue]:
    return {"type": "object", "properties": {}, "additionalProperties": False}


class TemplateCapability(Capability):
    """A capability as the specification has it, with the short word that cards show for it."""

    label: ShortLine

    def to_capability(self) -> Capability:
        """Return the capability without what only the library needs."""
        return Capability.model_validate(self.model_dump(mode="json", exclude={"label"}))


class TemplateTool(ToolBinding):
    """A tool binding with the name and the short label under which people know the tool."""

    name: ShortLine
    label: ShortLine

    def to_binding(self) -> ToolBinding:
        """Return the binding without what only the library needs."""
        return ToolBinding.model_validate(self.model_dump(mode="json", exclude={"name", "label"}))


class Defaults(_Frozen):
    """The partial specification that fills what an operator did not send."""

    goal: Text = Field(default="", max_length=2000)
    tags: tuple[Tag, ...] = Field(default=(), max_length=20)
    languages: tuple[Annotated[str, Field(pattern=LANGUAGE_PATTERN)], ...] = Field(
        default=("en",), min_length=1, max_length=20
    )
    capabilities: tuple[TemplateCapability, ...] = Field(min_length=1, max_length=50)
    tools: tuple[TemplateTool, ...] = Field(default=(), max_length=30)
    memory: Memory = Memory()
    resources: Resources = Resources()
    queues: Queues = Queues()
    policies: Policies = Policies()
    environment: tuple[EnvironmentVariable, ...] = Field(default=(), max_length=50)
    config: JsonObject = Field(default_factory=dict)

    def to_spec_dict(self) -> dict[str, Any]:
        """Return the defaults as plain JSON values in the specification's own shape."""
        values = self.model_dump(mode="json")
        for capability in values["capabilities"]:
            del capability["label"]
        for tool in values["tools"]:
            del tool["name"], tool["label"]
        return values


class SetupCall(_Frozen):
    """A call made before a scenario, which must succeed and is not judged."""

    capability: CapabilityName
    input: JsonObject


class Scenario(_Frozen):
    """A call with the part of its answer that matters; what is not expected may be anything."""

    name: Line = Field(min_length=1, max_length=100)
    description: Text = Field(default="", max_length=300)
    capability: CapabilityName
    setup: tuple[SetupCall, ...] = Field(default=(), max_length=10)
    input: JsonObject
    expected_output: JsonObject


class UsageExample(_Frozen):
    """What an agent of this template is good for, shown as a call and its answer."""

    title: Line = Field(min_length=1, max_length=100)
    description: Text = Field(default="", max_length=500)
    capability: CapabilityName
    input: JsonObject
    output: JsonObject


class TemplateDefinition(_Frozen):
    """One version of a template."""

    slug: Slug
    name: Line = Field(min_length=1, max_length=100)
    description: Line = Field(min_length=1, max_length=300, description="Sentence in the preview.")
    summary: Line = Field(min_length=1, max_length=120, description="Line on the card.")
    use_case: Line = Field(min_length=1, max_length=200)
    category: Category
    complexity: Complexity
    icon: str = Field(pattern=r"^[a-z][a-z0-9_]{0,39}$", description="Name of a Material Symbol.")
    estimated_time: Line = Field(min_length=1, max_length=20)
    position: int = Field(default=100, ge=0, le=10_000, description="Order in the library.")
    version: str = Field(pattern=VERSION_PATTERN)
    changelog: Text = Field(default="", max_length=5000)
    tier_recommendation: int = Field(ge=1, le=5)
    best_practices: tuple[Paragraph, ...] = Field(default=(), max_length=20)
    examples: tuple[UsageExample, ...] = Field(default=(), max_length=20)
    dependencies: tuple[Slug, ...] = Field(default=(), max_length=20)
    required_capabilities: tuple[CapabilityName, ...] = Field(default=(), max_length=50)
    optional_capabilities: tuple[TemplateCapability, ...] = Field(default=(), max_length=50)
    defaults: Defaults
    config_schema: ConfigSchema = Field(default_factory=_no_configuration)
    scenarios: tuple[Scenario, ...] = Field(default=(), max_length=50)

    @model_validator(mode="before")
    @classmethod
    def _is_bounded(cls, value: Any) -> Any:
        return check_json_bounds(value) if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _deploys_as_it_is(self) -> Self:
        problems = tuple(definition_problems(self))
        if problems:
            raise DefinitionError(problems)
        return self

    # --- What other rooms ask -----------------------------------------------------------------

    def capability(self, name: str) -> TemplateCapability | None:
        """Return the default or optional capability called ``name``, or ``None``."""
        everything = (*self.defaults.capabilities, *self.optional_capabilities)
        return next((c for c in everything if c.name == name), None)

    @cached_property
    def spec_fields(self) -> Mapping[str, str]:
        """Configuration property → the specification field that it is another name of."""
        return dict(spec_paths(self.config_schema))

    @property
    def reference(self) -> TemplateRef:
        """How a specification names this version."""
        return TemplateRef(slug=self.slug, version=self.version)

    def resolve_config(
        self, *, config: Mapping[str, Any], sent: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Fill the configuration and carry its values over to the specification.

        ``config`` and ``sent`` hold only what the operator sent: configuration values, and the
        specification's own fields as nested dictionaries. What is set in one place is set in the
        other; the template's defaults fill the rest.

        Returns:
            The whole configuration, and ``sent``'s parts with the configured values put in.

        Raises:
            InvalidInput: a value does not fit ``config_schema``, or the two places disagree.

        """
        problems = list(schema_problems("config", self._partial_config_schema, config))
        resolved = {**copy.deepcopy(self.defaults.config), **copy.deepcopy(dict(config))}
        parts = copy.deepcopy(dict(sent))
        carried: dict[str, str] = {}
        for name, path in self.spec_fields.items():
            value, present = value_at(parts, path)
            if not present:
                if name in config:
                    put_value(parts, path, config[name])
            elif name in config and config[name] != value:
                problems.append(
                    FieldProblem(
                        f"config.{name}",
                        "contradiction",
                        f"This and {path} have different values. Send one of them.",
                    )
                )
            elif name in self.defaults.config or name in config:
                resolved[name] = value
                carried[f"config.{name}"] = path
        if not problems:
            # What is wrong with a value is said where the value was sent.
            problems.extend(
                replace(problem, attr=carried.get(problem.attr, problem.attr))
                for problem in schema_problems("config", self.config_schema, resolved)
            )
        if problems:
            raise InvalidInput(
                "invalid_input",
                "The template's configuration needs attention. Each field says what to do.",
                problems=tuple(problems),
            )
        return resolved, parts

    @cached_property
    def _partial_config_schema(self) -> dict[str, Any]:
        return {key: value for key, value in self.config_schema.items() if key != "required"}

    def sample_spec(self, *, agent_id: str = "TemplateCheck", name: str = "") -> AgentSpec:
        """Return the agent that this version makes when only a name is given.

        Raises:
            pydantic.ValidationError: the defaults are no valid specification.

        """
        shown = name or self.name
        return AgentSpec.model_validate(
            {
                **self.defaults.to_spec_dict(),
                "agent_id": agent_id,
                "name": shown,
                "display_name": shown,
                "description": self.description[:200],
                "tier": self.tier_recommendation,
                "template": self.reference.model_dump(),
            }
        )

    def canonical_json(self) -> str:
        """Return the one spelling of this definition."""
        return canonical_json(self.model_dump(mode="json"))


def parse_definition(value: Any) -> TemplateDefinition:
    """Return the definition that ``value`` (plain JSON values) describes.

    Raises:
        InvalidInput: ``problems`` has one entry for each thing to mend, with its dotted path.

    """
    try:
        return TemplateDefinition.model_validate(value)
    except ValidationError as error:
        problems = problems_of(error)
        raise InvalidInput(
            "invalid_definition",
            "The template's definition needs attention. Each place says what to do.",
            problems=problems,
        ) from None
