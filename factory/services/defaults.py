"""What a new installation starts with. Loading adds what is missing and changes nothing else."""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from django.db import transaction

from factory.models import PriceBook, Tier, TierPrice
from registry.services.tools import load_tools


@dataclass(frozen=True)
class _TierDefaults:
    number: int
    name: str
    description: str
    cpu: str
    memory_mb: int
    storage_gb: int
    prices: tuple[str, str, str, str, str, str]
    """Core month, core busy hour, GB memory, GB storage, thousand requests, other (INR)."""


TIERS: Final = (
    _TierDefaults(
        1, "Basic", "Small helpers with little traffic.", "1", 1024, 10,
        ("2500", "14.40", "450", "50", "5", "300"),
    ),
    _TierDefaults(
        2, "Standard", "Integrations and routine work.", "1", 2048, 20,
        ("4000", "21.60", "700", "80", "7", "500"),
    ),
    _TierDefaults(
        3, "Professional", "Memory and customer-facing agents.", "2", 4096, 50,
        ("6000", "36.00", "1000", "100", "10", "1000"),
    ),
    _TierDefaults(
        4, "Advanced", "Orchestration and heavy processing.", "3", 6144, 75,
        ("9000", "54.00", "1500", "140", "14", "1200"),
    ),
    _TierDefaults(
        5, "Enterprise", "The largest and busiest agents.", "4", 8192, 100,
        ("14000", "90.00", "2200", "200", "20", "2000"),
    ),
)  # fmt: skip
_FIRST_BOOK: Final = "List prices"
_FIRST_DAY: Final = datetime(2025, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Loaded:
    """How many rows were added."""

    tools: int
    tiers: int
    price_books: int


@transaction.atomic
def load_defaults() -> Loaded:
    """Add the built-in tools, the tiers and, if there is no price book at all, the first one."""
    present = set(Tier.objects.values_list("number", flat=True))
    made = Tier.objects.bulk_create(
        [
            Tier(
                number=tier.number,
                name=tier.name,
                description=tier.description,
                max_cpu_cores=Decimal(tier.cpu),
                max_memory_mb=tier.memory_mb,
                max_storage_gb=tier.storage_gb,
            )
            for tier in TIERS
            if tier.number not in present
        ],
        ignore_conflicts=True,
    )
    return Loaded(tools=load_tools(), tiers=len(made), price_books=_load_first_prices())


def _load_first_prices() -> int:
    if PriceBook.objects.exists():
        return 0
    book = PriceBook.objects.create(name=_FIRST_BOOK, valid_from=_FIRST_DAY)
    TierPrice.objects.bulk_create(
        TierPrice(
            price_book=book,
            tier_id=tier.number,
            **dict(
                zip(
                    (
                        "cpu_core_month",
                        "cpu_core_busy_hour",
                        "memory_gb_month",
                        "storage_gb_month",
                        "network_thousand_requests",
                        "other_month",
                    ),
                    map(Decimal, tier.prices),
                    strict=True,
                )
            ),
        )
        for tier in TIERS
    )
    return 1
