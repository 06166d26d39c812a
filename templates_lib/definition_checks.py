"""Whether the parts of a template definition fit each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from ledger.errors import FieldProblem
from registry.schemas import SchemaValidator
from templates_lib.config_fields import SPEC_KEYWORD, value_at

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from registry.spec import Capability
    from templates_lib.definition import TemplateDefinition

_LONGEST_MESSAGE: Final = 300


class DefinitionError(ValueError):
    """A definition whose parts do not fit each other; ``problems`` names the places."""

    def __init__(self, problems: tuple[FieldProblem, ...]) -> None:
        """Keep all ``problems``; the first one is the message."""
        super().__init__(problems[0].detail)
        self.problems = problems


def problems_of(error: ValidationError) -> tuple[FieldProblem, ...]:
    """Return pydantic's findings with dotted paths; a definition's own come one by one."""
    found: list[FieldProblem] = []
    for item in error.errors(include_url=False, include_input=False):
        cause = item.get("ctx", {}).get("error")
        if isinstance(cause, DefinitionError):
            found.extend(cause.problems)
            continue
        attr = ".".join(str(part) for part in item["loc"])
        found.append(FieldProblem(attr, item["type"], item["msg"].removeprefix("Value error, ")))
    return tuple(found)


def schema_problems(
    where: str, schema: Mapping[str, Any], value: Mapping[str, Any]
) -> Iterator[FieldProblem]:
    """Yield what keeps ``value`` from fitting the JSON Schema, with paths below ``where``."""
    for error in SchemaValidator(schema).iter_errors(value):
        path = ".".join([where, *(str(part) for part in error.absolute_path)])
        message = error.message
        if len(message) > _LONGEST_MESSAGE:
            message = f"{message[:_LONGEST_MESSAGE]}…"
        yield FieldProblem(path, "schema", f"{message}.")


def definition_problems(definition: TemplateDefinition) -> Iterator[FieldProblem]:
    """Yield everything that would keep the template from deploying as it is."""
    yield from _capability_problems(definition)
    for index, capability in enumerate(definition.defaults.capabilities):
        yield from _example_problems(f"defaults.capabilities.{index}", capability)
    for index, capability in enumerate(definition.optional_capabilities):
        yield from _example_problems(f"optional_capabilities.{index}", capability)
    yield from _scenario_problems(definition)
    yield from _usage_problems(definition)
    yield from _config_problems(definition)
    try:
        definition.sample_spec()
    except ValidationError as error:
        for problem in problems_of(error):
            attr = f"defaults.{problem.attr}".rstrip(".")
            yield FieldProblem(attr, problem.code, problem.detail)


def _capability_problems(definition: TemplateDefinition) -> Iterator[FieldProblem]:
    seen = {c.name for c in definition.defaults.capabilities}
    for index, name in enumerate(definition.required_capabilities):
        if name not in seen:
            yield FieldProblem(
                f"required_capabilities.{index}",
                "unknown_capability",
                f"{name!r} is not one of the default capabilities.",
            )
    for index, capability in enumerate(definition.optional_capabilities):
        if capability.name in seen:
            yield FieldProblem(
                f"optional_capabilities.{index}.name",
                "duplicate",
                f"The capability {capability.name!r} is there twice. Keep one of them.",
            )
        seen.add(capability.name)


def _example_problems(where: str, capability: Capability) -> Iterator[FieldProblem]:
    for number, example in enumerate(capability.examples):
        place = f"{where}.examples.{number}"
        yield from schema_problems(f"{place}.input", capability.input_schema, example.input)
        yield from schema_problems(f"{place}.output", capability.output_schema, example.output)


def _scenario_problems(definition: TemplateDefinition) -> Iterator[FieldProblem]:
    names: set[str] = set()
    for index, scenario in enumerate(definition.scenarios):
        where = f"scenarios.{index}"
        if scenario.name in names:
            yield FieldProblem(
                f"{where}.name",
                "duplicate",
                f"There is a scenario {scenario.name!r} already. Give this one another name.",
            )
        names.add(scenario.name)
        yield from _call_problems(definition, where, scenario.capability, scenario.input)
        for number, call in enumerate(scenario.setup):
            place = f"{where}.setup.{number}"
            yield from _call_problems(definition, place, call.capability, call.input)
        capability = definition.capability(scenario.capability)
        known = capability.output_schema.get("properties") if capability else None
        if isinstance(known, dict):
            for name in sorted(scenario.expected_output.keys() - known.keys()):
                yield FieldProblem(
                    f"{where}.expected_output.{name}",
                    "unknown_field",
                    f"The output schema of {scenario.capability} has no field {name!r}.",
                )


def _usage_problems(definition: TemplateDefinition) -> Iterator[FieldProblem]:
    for index, example in enumerate(definition.examples):
        where = f"examples.{index}"
        yield from _call_problems(definition, where, example.capability, example.input)
        capability = definition.capability(example.capability)
        if capability is not None:
            yield from schema_problems(f"{where}.output", capability.output_schema, example.output)


def _call_problems(
    definition: TemplateDefinition, where: str, name: str, value: Mapping[str, Any]
) -> Iterator[FieldProblem]:
    capability = definition.capability(name)
    if capability is None:
        yield FieldProblem(
            f"{where}.capability",
            "unknown_capability",
            f"The template has no capability {name!r}.",
        )
        return
    yield from schema_problems(f"{where}.input", capability.input_schema, value)


def _config_problems(definition: TemplateDefinition) -> Iterator[FieldProblem]:
    config = definition.defaults.config
    yield from schema_problems("defaults.config", definition.config_schema, config)
    spec = definition.defaults.to_spec_dict()
    for name, path in definition.spec_fields.items():
        found, present = value_at(spec, path)
        if not present:
            yield FieldProblem(
                f"config_schema.properties.{name}.{SPEC_KEYWORD}",
                "unknown_field",
                f"The specification has no field {path!r}.",
            )
        elif name in config and config[name] != found:
            yield FieldProblem(
                f"defaults.config.{name}",
                "contradiction",
                f"{name} is {config[name]!r} here and {found!r} at defaults.{path}. "
                "Give both the same value.",
            )
