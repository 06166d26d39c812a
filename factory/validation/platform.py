"""The third tier of rules: what this installation can do now."""

from collections.abc import Iterator
from typing import Final

from factory.naming import free_ids
from factory.validation.facts import Facts
from factory.validation.findings import Finding, RuleTier, error, warning
from registry.spec import AgentSpec

PLATFORM: Final = RuleTier.PLATFORM


def platform_findings(spec: AgentSpec, facts: Facts) -> Iterator[Finding]:
    """Yield what is in the way on this installation."""
    if spec.agent_id.lower() in facts.taken_ids:
        yield error(PLATFORM, "agent_id_taken", "agent_id", taken_message(spec.agent_id, facts))
    if facts.driver is None:
        yield error(
            PLATFORM,
            "runtime_unavailable",
            "",
            "The runtime that agents run on does not answer. Try again in a minute, or tell "
            "whoever runs the platform.",
        )
        return
    wanted = spec.resources
    for field, value, present, unit in (
        ("cpu_cores", wanted.cpu_cores, facts.driver.cpu_cores, "CPU cores"),
        ("memory_mb", wanted.memory_mb, facts.driver.memory_mb, "MB of memory"),
    ):
        if value > present:
            yield warning(
                PLATFORM,
                "over_host_capacity",
                f"resources.{field}",
                f"This host has {present:g} {unit}, less than the {value:g} asked for. Lower it, "
                "or the agent may not start.",
            )


def taken_message(agent_id: str, facts: Facts) -> str:
    """Return what to do when the id is taken, with ids that are not."""
    free = ", ".join(free_ids(agent_id, is_taken=facts.taken_ids.__contains__))
    return f"An agent called {agent_id} already exists. Choose another id, as in {free}."
