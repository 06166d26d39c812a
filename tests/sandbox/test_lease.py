"""A lease is renewed while its worker lives and holds it, and no longer."""

from __future__ import annotations

import time
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.utils import timezone

from accounts.roles import Role
from sandbox import lease
from sandbox.enums import SandboxTestStatus
from sandbox.lease import Keeper, new_lease
from sandbox.models import SandboxTest
from tests.builders import make_caller
from tests.sandbox.traces import fresh

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def leased(monkeypatch: pytest.MonkeyPatch) -> SandboxTest:
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.01)
    monkeypatch.setattr(lease, "ANNOUNCE_SECONDS", 0.01)
    token, _ = new_lease()
    return SandboxTest.objects.create(
        organization=make_caller(Role.OPERATOR).organization,
        spec={},
        digest="",
        driver="process",
        status=SandboxTestStatus.RUNNING,
        lease_token=token,
        lease_expires_at=timezone.now() + timedelta(seconds=5),
    )


@pytest.fixture
def keeper(leased: SandboxTest) -> Iterator[Keeper]:
    assert leased.lease_token is not None
    found = Keeper(leased.pk, leased.lease_token, deadline=time.monotonic() + 60)
    found.start()
    yield found
    found.stop()


def holds_in_time(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 30
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def expiry(test: SandboxTest) -> float:
    found = fresh(test).lease_expires_at
    assert found is not None
    return found.timestamp()


def test_it_is_renewed_while_it_is_held(leased: SandboxTest, keeper: Keeper) -> None:
    before = expiry(leased)
    assert holds_in_time(lambda: expiry(leased) > before + 10)
    assert not keeper.lost


def test_it_is_lost_to_who_took_over(leased: SandboxTest, keeper: Keeper) -> None:
    taken = timezone.now() + timedelta(hours=1)
    SandboxTest.objects.filter(pk=leased.pk).update(
        lease_token=uuid.uuid4(), lease_expires_at=taken
    )
    assert holds_in_time(lambda: keeper.lost)
    keeper.announce()
    assert fresh(leased).lease_expires_at == taken


def test_it_is_not_renewed_after_the_deadline(leased: SandboxTest) -> None:
    assert leased.lease_token is not None
    before = expiry(leased)
    late = Keeper(leased.pk, leased.lease_token, deadline=time.monotonic() - 1)
    late.start()
    late.stop()
    assert expiry(leased) == before
