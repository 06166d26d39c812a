"""The first tier of rules: is the specification well formed, beyond what its types say."""

from collections.abc import Iterator

from factory.validation.findings import Finding, RuleTier, error, suggestion, warning
from ledger.errors import InvalidInput
from registry.schemas import SchemaValidator
from registry.spec import AgentSpec, BuiltinImplementation, BuiltinOperation, Capability, MemoryKind

_LONGEST_MESSAGE = 200


def compilation_findings(problem: InvalidInput) -> list[Finding]:
    """Return what compiling the request found."""
    if not problem.problems:
        return [error(RuleTier.STRUCTURE, problem.code, "", problem.message)]
    return [
        error(RuleTier.STRUCTURE, item.code, item.attr, item.detail) for item in problem.problems
    ]


def structure_findings(spec: AgentSpec) -> Iterator[Finding]:
    """Yield what the parts of the specification say against each other."""
    for index, capability in enumerate(spec.capabilities):
        yield from _examples(capability, f"capabilities.{index}")
        if spec.memory.kind == MemoryKind.NONE and _remembers(capability):
            yield error(
                RuleTier.STRUCTURE,
                "memory_missing",
                "memory.kind",
                f"{capability.name} needs a memory. Choose short_term, long_term or hybrid.",
            )
        if not capability.description:
            yield suggestion(
                RuleTier.STRUCTURE,
                "description_missing",
                f"capabilities.{index}.description",
                f"Describe {capability.name}: people and programs choose by it.",
            )
        if capability.timeout_seconds > spec.policies.timeouts.operation_seconds:
            yield warning(
                RuleTier.STRUCTURE,
                "timeout_cut",
                f"capabilities.{index}.timeout_seconds",
                f"{capability.name} may take {capability.timeout_seconds:g} s, but every operation "
                f"ends after {spec.policies.timeouts.operation_seconds:g} s. Raise the operation "
                "timeout or lower this one.",
            )
    if not any(_is_health_check(capability) for capability in spec.capabilities):
        yield suggestion(
            RuleTier.STRUCTURE,
            "health_check_missing",
            "capabilities",
            "Add health check capability for better monitoring",
        )


def _is_health_check(capability: Capability) -> bool:
    done_by = capability.implementation
    return "health" in capability.name or (
        isinstance(done_by, BuiltinImplementation)
        and done_by.operation == BuiltinOperation.AGENT_HEALTH
    )


def _remembers(capability: Capability) -> bool:
    done_by = capability.implementation
    return isinstance(done_by, BuiltinImplementation) and done_by.operation.startswith("memory.")


def _examples(capability: Capability, path: str) -> Iterator[Finding]:
    for index, example in enumerate(capability.examples):
        for side, schema, value in (
            ("input", capability.input_schema, example.input),
            ("output", capability.output_schema, example.output),
        ):
            found = next(SchemaValidator(schema).iter_errors(value), None)
            if found is not None:
                where = ".".join(str(part) for part in found.absolute_path)
                field = f"{path}.examples.{index}.{side}"
                yield error(
                    RuleTier.STRUCTURE,
                    "example_does_not_fit",
                    f"{field}.{where}" if where else field,
                    f"This example does not fit the {side} schema of {capability.name}: "
                    f"{found.message[:_LONGEST_MESSAGE]}. Change one of the two.",
                )
