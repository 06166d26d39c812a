"""What an agent costs in a month, from the price book in force.

The formula, in Indian rupees a month, each part rounded half up to whole rupees, the total the
sum of the rounded parts:

- compute: cores * (a core's month + busy hours * a core's busy hour), where busy hours are
  requests * seconds / 3600;
- memory: GB (1024 MB) * a GB's month; storage: GB * a GB's month;
- network: thousands of requests * their price; other: flat.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final

from django.db.models import Subquery
from django.utils import timezone

from factory.models import PriceBook, TierPrice
from ledger.errors import InvalidInput, Unavailable
from registry.spec import Resources

MAX_REQUESTS_PER_MONTH: Final = 10_000_000_000
MAX_DURATION_SECONDS: Final = 3600


@dataclass(frozen=True)
class Usage:
    """How much an agent is expected to be called."""

    requests_per_month: int = 100_000
    avg_duration_seconds: Decimal = Decimal(2)


@dataclass(frozen=True)
class CostEstimate:
    """Whole rupees a month; ``breakdown`` adds up to the total."""

    tier: int
    monthly_cost_inr: int
    breakdown: Mapping[str, int]
    comparison: Mapping[int, int]
    """Tier → total of the same agent there, for this tier and its neighbours."""

    def to_json_dict(self) -> dict[str, Any]:
        """Return the estimate as the API answers it."""
        return {
            "monthly_cost_inr": self.monthly_cost_inr,
            "breakdown": dict(self.breakdown),
            "comparison": {f"tier_{tier}": total for tier, total in self.comparison.items()},
        }


def estimate(*, tier: int, resources: Resources, usage: Usage | None = None) -> CostEstimate:
    """Return what an agent of this tier with these resources costs. One query.

    Raises:
        InvalidInput: there is no such tier.
        Unavailable: ``no_prices``; no price book is in force, or it lacks the tier.

    """
    usage = usage or Usage()
    in_force = PriceBook.objects.filter(valid_from__lte=timezone.now()).order_by("-valid_from")
    prices = {
        price.tier_id: price
        for price in TierPrice.objects.filter(price_book=Subquery(in_force.values("pk")[:1]))
    }
    if not prices:
        raise Unavailable(
            "no_prices", "No price book is in force. Ask an administrator to enter one."
        )
    if tier not in prices:
        known = ", ".join(str(number) for number in sorted(prices))
        raise InvalidInput.of_field("tier", "unknown_tier", f"Choose one of the tiers {known}.")
    parts = _parts(prices[tier], resources, usage)
    return CostEstimate(
        tier=tier,
        monthly_cost_inr=sum(parts.values()),
        breakdown=parts,
        comparison={
            number: sum(_parts(prices[number], resources, usage).values())
            for number in (tier - 1, tier, tier + 1)
            if number in prices
        },
    )


def _parts(price: TierPrice, resources: Resources, usage: Usage) -> dict[str, int]:
    requests = Decimal(usage.requests_per_month)
    busy_hours = requests * usage.avg_duration_seconds / 3600
    cores = Decimal(str(resources.cpu_cores))
    amounts = {
        "compute": cores * (price.cpu_core_month + busy_hours * price.cpu_core_busy_hour),
        "memory": Decimal(resources.memory_mb) / 1024 * price.memory_gb_month,
        "storage": resources.storage_gb * price.storage_gb_month,
        "network": requests / 1000 * price.network_thousand_requests,
        "other": price.other_month,
    }
    return {
        name: int(amount.quantize(Decimal(1), rounding=ROUND_HALF_UP))
        for name, amount in amounts.items()
    }
