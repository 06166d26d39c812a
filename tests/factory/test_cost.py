"""What an agent costs."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from factory.cost import Usage, estimate
from factory.models import PriceBook, Tier, TierPrice
from factory.services.defaults import load_defaults
from ledger.errors import InvalidInput, Unavailable
from registry.spec import Resources

pytestmark = pytest.mark.django_db
FOUR_GB = Resources(cpu_cores=1, memory_mb=4096, storage_gb=10)


@pytest.fixture(autouse=True)
def _prices() -> None:
    load_defaults()


def test_the_known_example_costs_what_it_says() -> None:
    found = estimate(tier=3, resources=FOUR_GB, usage=Usage(100_000, Decimal(2)))

    assert found.to_json_dict() == {
        "monthly_cost_inr": 15000,
        "breakdown": {
            "compute": 8000,
            "memory": 4000,
            "storage": 1000,
            "network": 1000,
            "other": 1000,
        },
        "comparison": {"tier_2": 10000, "tier_3": 15000, "tier_4": 22000},
    }


def test_the_usage_is_assumed_when_it_is_not_given() -> None:
    assert estimate(tier=3, resources=FOUR_GB).monthly_cost_inr == 15000


@pytest.mark.parametrize(
    ("tier", "total", "neighbours"),
    [
        (1, 6400, {1, 2}),
        (2, 10000, {1, 2, 3}),
        (4, 22000, {3, 4, 5}),
        (5, 33800, {4, 5}),
    ],
)
def test_every_tier_has_its_price_and_its_neighbours(
    tier: int, total: int, neighbours: set[int]
) -> None:
    found = estimate(tier=tier, resources=FOUR_GB)

    assert found.monthly_cost_inr == total
    assert set(found.comparison) == neighbours
    assert found.comparison[tier] == total


def test_no_calls_leave_the_reserved_part() -> None:
    found = estimate(tier=3, resources=FOUR_GB, usage=Usage(0, Decimal(0)))

    assert found.breakdown == {
        "compute": 6000,
        "memory": 4000,
        "storage": 1000,
        "network": 0,
        "other": 1000,
    }


def test_half_a_rupee_is_rounded_up_and_the_parts_add_up() -> None:
    TierPrice.objects.filter(tier_id=1).update(
        cpu_core_month=Decimal("100.50"),
        memory_gb_month=Decimal("0.99"),
        storage_gb_month=Decimal("0.49"),
        other_month=Decimal("0.50"),
    )

    found = estimate(
        tier=1,
        resources=Resources(cpu_cores=1, memory_mb=512, storage_gb=1),
        usage=Usage(0, Decimal(0)),
    )

    assert found.breakdown == {"compute": 101, "memory": 0, "storage": 0, "network": 0, "other": 1}
    assert found.monthly_cost_inr == 102


def test_cores_and_seconds_may_be_fractions() -> None:
    found = estimate(
        tier=3,
        resources=Resources(cpu_cores=0.5, memory_mb=1536, storage_gb=1),
        usage=Usage(36_000, Decimal("0.1")),
    )
    # Half of 6000 and of one busy hour at 36; 1.5 GB; 1 GB; 36 thousand requests.
    assert dict(found.breakdown) == {
        "compute": 3018,
        "memory": 1500,
        "storage": 100,
        "network": 360,
        "other": 1000,
    }


def test_the_newest_book_whose_day_has_come_is_in_force() -> None:
    now = timezone.now()
    for name, day, factor in (
        ("now", now - timedelta(days=1), 2),
        ("later", now + timedelta(1), 9),
    ):
        book = PriceBook.objects.create(name=name, valid_from=day)
        for price in TierPrice.objects.filter(price_book__name="List prices"):
            price.pk = None
            price.price_book = book
            price.other_month *= factor
            price.save()

    assert estimate(tier=3, resources=FOUR_GB).breakdown["other"] == 2000


def test_one_query_prices_everything(django_assert_num_queries: object) -> None:
    with django_assert_num_queries(1):  # type: ignore[operator]  # pytest-django's fixture
        estimate(tier=3, resources=FOUR_GB)


def test_an_unknown_tier_is_a_field_error() -> None:
    with pytest.raises(InvalidInput) as caught:
        estimate(tier=6, resources=FOUR_GB)
    assert caught.value.problems[0].attr == "tier"
    assert "1, 2, 3, 4, 5" in caught.value.message


def test_without_prices_an_admin_is_asked_for() -> None:
    PriceBook.objects.all().delete()
    with pytest.raises(Unavailable) as caught:
        estimate(tier=3, resources=FOUR_GB)
    assert caught.value.code == "no_prices"


def test_loading_again_keeps_what_an_admin_changed() -> None:
    Tier.objects.filter(number=3).update(quota=99)
    Tier.objects.filter(number=5).delete()
    TierPrice.objects.filter(tier_id=3).update(other_month=1)

    loaded = load_defaults()

    assert (loaded.tiers, loaded.price_books) == (1, 0)
    assert Tier.objects.get(number=3).quota == 99
    assert TierPrice.objects.get(tier_id=3).other_month == 1
