"""The second tier of rules: what is allowed here, by tier, quota, name, tool and package."""

import re
from collections.abc import Callable, Iterator
from typing import Final

from factory.models import Tier
from factory.naming import PREFIX, agent_id_for
from factory.validation.facts import Facts
from factory.validation.findings import Finding, RuleTier, error, suggestion, warning
from registry.services.tools import check_parameters
from registry.spec import AgentSpec, PromptImplementation

POLICY: Final = RuleTier.POLICY
MEMORY_HIGH: Final = 0.8
_HIGHEST_TIER: Final = 5
# Words that are paths of the API beside the agents' ids.
_RESERVED_IDS: Final = frozenset({"scaffold", "generate", "local-dev", "multi-specs"})
# Packages that take hold of the host, of other machines or of the agent's own runtime.
_REFUSED_PACKAGES: Final = frozenset(
    {"docker", "dockerpty", "kubernetes", "paramiko", "fabric", "ansible", "ansible-core", "scapy",
     "pwntools", "impacket", "pyinstaller", "agent-runtime"}
)  # fmt: skip


def policy_findings(
    spec: AgentSpec, facts: Facts, *, may_raise: Callable[[], str]
) -> Iterator[Finding]:
    """Yield what the rules of the installation say; ``may_raise`` names who can raise a quota."""
    tier = facts.tiers.get(spec.tier)
    if tier is None:
        known = ", ".join(str(number) for number in sorted(facts.tiers))
        yield error(POLICY, "unknown_tier", "tier", f"Choose one of the tiers {known}.")
    else:
        yield from _quota(tier, facts, may_raise)
        yield from _bounds(spec, tier, facts)
    yield from _names(spec)
    yield from _tools(spec, facts)
    yield from _secrets(spec, facts)
    yield from _packages(spec)


def quota_message(tier: Tier, used: int, *, may_raise: str) -> str:
    """Return what to do when the tier's quota is used up."""
    return (
        f"Tier {tier.number} is full: {used} of {tier.quota} agents are used. Choose another tier, "
        f"deprecate or delete an agent, or ask {may_raise} to raise the quota."
    )


def _quota(tier: Tier, facts: Facts, may_raise: Callable[[], str]) -> Iterator[Finding]:
    used = facts.used.get(tier.number, 0)
    if used >= tier.quota:
        yield error(
            POLICY, "tier_quota_full", "tier", quota_message(tier, used, may_raise=may_raise())
        )


def _bounds(spec: AgentSpec, tier: Tier, facts: Facts) -> Iterator[Finding]:
    wanted = spec.resources
    for field, value, bound, unit in (
        ("cpu_cores", wanted.cpu_cores, float(tier.max_cpu_cores), "CPU cores"),
        ("memory_mb", wanted.memory_mb, tier.max_memory_mb, "MB of memory"),
        ("storage_gb", wanted.storage_gb, tier.max_storage_gb, "GB of storage"),
    ):
        if value > bound:
            larger = _tier_for(spec, facts)
            yield error(
                POLICY,
                "over_tier_bound",
                f"resources.{field}",
                f"Tier {tier.number} allows up to {bound:g} {unit}. Lower it"
                + (f" or choose tier {larger}." if larger else "."),
            )
    if MEMORY_HIGH * tier.max_memory_mb <= wanted.memory_mb <= tier.max_memory_mb:
        higher = spec.tier + 1
        advice = f" Consider tier {higher}." if higher in facts.tiers else ""
        yield warning(
            POLICY,
            "memory_high",
            "resources.memory_mb",
            f"Memory usage high for tier {spec.tier}.{advice}",
        )


def _tier_for(spec: AgentSpec, facts: Facts) -> int | None:
    """Return the lowest tier whose bounds hold what the agent wants."""
    wanted = spec.resources
    return next(
        (
            number
            for number, tier in sorted(facts.tiers.items())
            if wanted.cpu_cores <= tier.max_cpu_cores
            and wanted.memory_mb <= tier.max_memory_mb
            and wanted.storage_gb <= tier.max_storage_gb
        ),
        None,
    )


def _names(spec: AgentSpec) -> Iterator[Finding]:
    if spec.agent_id.lower() in _RESERVED_IDS:
        yield error(
            POLICY,
            "agent_id_reserved",
            "agent_id",
            f"The platform uses this word itself. Choose another id, as in "
            f"{agent_id_for(spec.name)}.",
        )
    elif not re.match(rf"{PREFIX}[A-Z0-9][A-Za-z0-9]*$", spec.agent_id):
        yield suggestion(
            POLICY,
            "agent_id_convention",
            "agent_id",
            f"Agent ids begin with {PREFIX} and join capitalised words, as in "
            f"{agent_id_for(spec.name)}.",
        )


def _tools(spec: AgentSpec, facts: Facts) -> Iterator[Finding]:
    for index, binding in enumerate(spec.tools):
        path = f"tools.{index}"
        tool = facts.tools.get(binding.tool)
        if tool is None:
            known = ", ".join(sorted(facts.tools))
            yield error(
                POLICY,
                "unknown_tool",
                path,
                f"There is no tool {binding.tool}. Choose one of: {known}.",
            )
            continue
        if not binding.parameters and tool.parameters_schema.get("required"):
            yield suggestion(
                POLICY,
                "tool_not_connected",
                f"{path}.parameters",
                f"{tool.name} is not connected yet: fill in its parameters to use it.",
            )
            continue
        for problem in check_parameters(tool, binding.parameters, attr=f"{path}.parameters"):
            yield error(POLICY, "tool_parameters", problem.attr, problem.detail)
        if binding.secret and not tool.accepts_secret:
            yield warning(
                POLICY,
                "secret_not_used",
                f"{path}.secret",
                f"{tool.name} takes no secret. Remove it.",
            )
    models = [item for item in spec.tools if item.tool == "chat-model" and item.parameters]
    if models:
        return
    chat_model = facts.tools.get("chat-model")
    label = chat_model.name if chat_model is not None else "chat-model"
    for index, capability in enumerate(spec.capabilities):
        if isinstance(capability.implementation, PromptImplementation):
            yield warning(
                POLICY,
                "model_not_connected",
                f"capabilities.{index}",
                f"{capability.name} is answered by a model, but none is connected. Add the tool "
                f"“{label}” with its address.",
            )


def _secrets(spec: AgentSpec, facts: Facts) -> Iterator[Finding]:
    named = [(f"tools.{index}.secret", tool.secret) for index, tool in enumerate(spec.tools)]
    named += [
        (
            f"capabilities.{index}.implementation.secret",
            getattr(capability.implementation, "secret", None),
        )
        for index, capability in enumerate(spec.capabilities)
    ]
    for path, name in named:
        if name and name not in facts.secrets:
            yield error(
                POLICY,
                "unknown_secret",
                path,
                f"There is no secret {name}. Store it first, or choose another one.",
            )


def _packages(spec: AgentSpec) -> Iterator[Finding]:
    for index, requirement in enumerate(spec.packages):
        name, _, version = requirement.partition("==")
        path = f"packages.{index}"
        if re.sub(r"[-_.]+", "-", name).lower() in _REFUSED_PACKAGES:
            yield error(
                POLICY,
                "package_refused",
                path,
                f"Agents may not use {name}: it reaches beyond the agent. Remove it.",
            )
        elif not version:
            yield warning(
                POLICY,
                "package_not_pinned",
                path,
                f"Give {name} an exact version, as in {name}==1.2.3: two builds are then the same.",
            )
