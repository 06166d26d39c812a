"""What the rules judge a specification against, read once with few queries."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import structlog
from django.conf import settings
from django.db.models import Count
from django.db.models.functions import Lower

from accounts.callers import Caller
from factory.models import Tier
from provisioning.drivers import get_driver
from provisioning.drivers.base import DriverError, DriverInfo
from registry.models import Agent, Secret, Tool
from registry.spec import AgentSpec

log = structlog.get_logger(__name__)

# How long an answer of the runtime is good for: what it runs on hardly changes, whether it answers
# does.
_INFO_SECONDS: Final = 15.0
_FAILURE_SECONDS: Final = 2.0


@dataclass(frozen=True)
class Facts:
    """The installation and the organisation as they are now."""

    tiers: Mapping[int, Tier]
    used: Mapping[int, int]
    """Tier → agents of the organisation that count in its quota."""
    taken_ids: frozenset[str]
    """Ids of the organisation's agents, in small letters, that begin like the wanted one."""
    tools: Mapping[str, Tool]
    secrets: frozenset[str]
    driver: DriverInfo | None
    """``None`` while the runtime does not answer."""


def read_facts(caller: Caller, spec: AgentSpec, *, agent: Agent | None = None) -> Facts:
    """Return what matters for ``spec``; ``agent`` is the one that it would change, if any."""
    agents = Agent.objects.of(caller.organization)
    if agent is not None:
        agents = agents.exclude(pk=agent.pk)
    counts = agents.counted_in_quota().order_by().values_list("tier").annotate(Count("id"))
    stem = spec.agent_id.rstrip("0123456789").lower()
    taken = agents.order_by().annotate(lower=Lower("agent_id")).filter(lower__startswith=stem)
    names = {tool.secret for tool in spec.tools if tool.secret} | {
        secret
        for capability in spec.capabilities
        if (secret := getattr(capability.implementation, "secret", None))
    }
    secrets = (
        Secret.objects.filter(organization=caller.organization, name__in=names).values_list(
            "name", flat=True
        )
        if names
        else ()
    )
    return Facts(
        tiers={tier.number: tier for tier in Tier.objects.all()},
        used=dict(counts),
        taken_ids=frozenset(taken.values_list("lower", flat=True)),
        tools={tool.slug: tool for tool in Tool.objects.filter(is_active=True)},
        secrets=frozenset(secrets),
        driver=driver_info(),
    )


_known: dict[str, tuple[float, DriverInfo | None]] = {}


def driver_info() -> DriverInfo | None:
    """Return what the runtime says of itself, kept for some seconds; ``None`` if it is away."""
    name = settings.RUNTIME_DRIVER
    until, info = _known.get(name, (0.0, None))
    if time.monotonic() < until:
        return info
    try:
        info = get_driver().info()
    except DriverError as error:
        log.warning("runtime does not answer", driver=name, error=str(error))
        info = None
    _known[name] = (time.monotonic() + (_INFO_SECONDS if info else _FAILURE_SECONDS), info)
    return info


def forget_driver_info() -> None:
    """Ask the runtime again next time."""
    _known.clear()
