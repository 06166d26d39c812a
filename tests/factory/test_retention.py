"""Requests are recognised when they are repeated, for a while."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.utils import timezone

from factory.models import IdempotencyKey
from factory.tasks import delete_old_rows
from tests.builders import make_organization

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = pytest.mark.django_db


def test_old_idempotency_keys_go(settings: Settings) -> None:
    settings.KEEP_IDEMPOTENCY_KEYS_DAYS = 7
    organization = make_organization()
    for days in (8, 6):
        row = IdempotencyKey.objects.create(
            organization=organization,
            key=f"{days} days",
            request_digest="0" * 64,
            deployment_id=uuid.uuid4(),
        )
        IdempotencyKey.objects.filter(pk=row.pk).update(
            created_at=timezone.now() - timedelta(days=days)
        )

    delete_old_rows()

    assert IdempotencyKey.objects.get().key == "6 days"
