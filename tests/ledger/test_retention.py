"""Progress that nobody needs any more goes; what is on record stays."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from celery import current_app
from django.conf import settings as django_settings
from django.utils import timezone

from ledger import audit, events, tasks
from ledger.models import AuditEntry, ProgressEvent, Transition
from ledger.retention import delete_in_batches
from ledger.transitions import transition
from registry.enums import AgentStatus
from registry.services.agents import reserve_agent
from tests.builders import make_caller, make_spec

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = pytest.mark.django_db


def age(days: float) -> None:
    """Let everything there is now have happened that many days ago."""
    then = timezone.now() - timedelta(days=days)
    ProgressEvent.objects.update(created_at=then)
    Transition.objects.update(created_at=then)
    AuditEntry.objects.update(timestamp=then)


def test_old_progress_goes_but_for_each_subjects_newest(settings: Settings) -> None:
    settings.KEEP_PROGRESS_DAYS = 30
    old, going_on = uuid.uuid4(), uuid.uuid4()
    for subject in (old, going_on):
        for number in range(3):
            events.publish("deployment", subject, "step", {"number": number})
    age(31)
    events.publish("deployment", going_on, "step", {"number": 3})

    tasks.delete_old_rows()

    assert [event.seq for event in events.events_after("deployment", old, 0)] == [3]
    assert [event.seq for event in events.events_after("deployment", going_on, 0)] == [4]
    events.publish("deployment", old, "step", {})
    assert events.last_seq("deployment", old) == 4


def test_progress_within_its_time_stays(settings: Settings) -> None:
    settings.KEEP_PROGRESS_DAYS = 30
    subject = uuid.uuid4()
    for _ in range(3):
        events.publish("deployment", subject, "step", {})
    age(29)

    tasks.delete_old_rows()

    assert ProgressEvent.objects.count() == 3


def test_the_audit_trail_and_changes_of_status_stay() -> None:
    caller = make_caller()
    agent = reserve_agent(caller=caller, spec=make_spec())
    transition(agent, to=AgentStatus.ACTIVE)
    audit.record("agent.invoked", agent, actor=caller.user)
    age(5000)
    kept = AuditEntry.objects.count(), Transition.objects.count()

    current_app.loader.import_default_modules()
    for room in ("ledger", "accounts", "sandbox", "factory"):
        current_app.tasks[f"{room}.tasks.delete_old_rows"]()

    assert (AuditEntry.objects.count(), Transition.objects.count()) == kept
    assert min(kept) > 0


def test_more_than_one_batch_is_deleted() -> None:
    subject = uuid.uuid4()
    for _ in range(7):
        events.publish("deployment", subject, "step", {})

    assert delete_in_batches(ProgressEvent.objects.filter(seq__lt=7), batch=3) == 6
    assert ProgressEvent.objects.get().seq == 7


def test_whatever_is_scheduled_is_there_to_be_done() -> None:
    current_app.loader.import_default_modules()
    scheduled = {str(entry["task"]) for entry in django_settings.CELERY_BEAT_SCHEDULE.values()}

    assert scheduled <= set(current_app.tasks)
    assert sum(name.endswith(".delete_old_rows") for name in scheduled) == 4
