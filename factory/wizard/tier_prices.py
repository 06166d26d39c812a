"""The price in the neighbouring tiers, and whether the agent would fit there at all."""

from dataclasses import dataclass

from factory.cost import CostEstimate
from factory.models import Tier
from factory.templatetags.portal import megabytes
from registry.spec import Resources


@dataclass(frozen=True)
class TierPrice:
    """What the same agent costs in one tier."""

    number: int
    monthly_cost_inr: int
    is_chosen: bool
    exceeded: str
    """The tier's bounds that the resources exceed, in words; empty if they fit."""


def tier_prices(cost: CostEstimate, resources: Resources) -> list[TierPrice]:
    """Return the price in the agent's tier and its neighbours, lowest tier first. One query."""
    tiers = Tier.objects.in_bulk(cost.comparison)
    return [
        TierPrice(
            number=number,
            monthly_cost_inr=total,
            is_chosen=number == cost.tier,
            exceeded=_exceeded(tiers[number], resources) if number in tiers else "",
        )
        for number, total in cost.comparison.items()
    ]


def _exceeded(tier: Tier, resources: Resources) -> str:
    cores = float(tier.max_cpu_cores)
    bounds = (
        (resources.cpu_cores > cores, f"{cores:g} core{'' if cores <= 1 else 's'}"),
        (resources.memory_mb > tier.max_memory_mb, f"{megabytes(tier.max_memory_mb)} of memory"),
        (resources.storage_gb > tier.max_storage_gb, f"{tier.max_storage_gb} GB of storage"),
    )
    return " and ".join(words for is_over, words in bounds if is_over)
