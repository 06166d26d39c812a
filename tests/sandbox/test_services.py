"""Starting, cancelling and describing tests, the gate, the API and live progress."""

from __future__ import annotations

import threading
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import async_to_sync
from channels.db import database_sync_to_async
from channels.routing import URLRouter
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import AnonymousUser
from django.db import connection
from rest_framework.test import APIClient

from accounts.models import Membership
from accounts.roles import Role
from ledger import events
from ledger.errors import InvalidInput, NotAllowed, NotFound, TooManyRequests
from sandbox import services
from sandbox.dispatch import dispatch
from sandbox.enums import SandboxTestStatus, Verdict
from sandbox.models import SandboxTest
from sandbox.routing import websocket_urlpatterns
from sandbox.services import (
    MAX_ACTIVE_TESTS,
    cancel_test,
    describe_test,
    start_test,
    test_for,
)
from tests.builders import make_caller
from tests.sandbox.specs import scenario, sentiment_spec

if TYPE_CHECKING:
    from accounts.callers import Caller
    from accounts.models import User

pytestmark = pytest.mark.django_db


@pytest.fixture
def maker(db: None) -> Caller:
    return make_caller(Role.OPERATOR)


def started(caller: Caller) -> SandboxTest:
    return start_test(caller=caller, spec=sentiment_spec(), scenarios=[scenario()])


# --- Start, find, cancel ----------------------------------------------------------------------


def test_a_started_test_waits_with_its_scenarios(maker: Caller) -> None:
    test = started(maker)
    told = describe_test(test)
    assert told["status"] == "queued"
    assert (told["passed"], told["error"], told["ready_ms"]) == (False, None, None)
    assert told["test_id"] == str(test.pk)
    assert told["container_id"] == f"af-sbx-{test.pk.hex[:12]}"
    assert told["results"] == [
        {
            "scenario": "Analyze Sentiment",
            "position": 0,
            "capability": "analyze_sentiment",
            "status": "PENDING",
            "duration_ms": None,
            "memory_mb": None,
            "input": {"text": "I love it"},
            "expected_output": {"sentiment": "positive"},
            "output": None,
            "differences": [],
            "error": None,
            "logs": [],
        }
    ]
    assert test.agent_spec().digest == test.digest


def test_who_may_not_make_agents_may_not_test(maker: Caller) -> None:
    viewer = make_caller(Role.VIEWER, maker.organization)
    with pytest.raises(NotAllowed):
        started(viewer)
    test = started(maker)
    with pytest.raises(NotAllowed):
        cancel_test(caller=viewer, test=test)
    assert test_for(viewer, test.pk) == test


def test_bad_scenarios_start_nothing(maker: Caller) -> None:
    with pytest.raises(InvalidInput):
        start_test(caller=maker, spec=sentiment_spec(), scenarios=[])
    assert not SandboxTest.objects.exists()


def test_an_organisation_has_so_many_tests_at_a_time(maker: Caller) -> None:
    tests = [started(maker) for _ in range(MAX_ACTIVE_TESTS)]
    with pytest.raises(TooManyRequests, match="cancel one"):
        started(maker)
    started(make_caller(Role.OPERATOR))
    cancel_test(caller=maker, test=tests[0])
    started(maker)


@pytest.mark.django_db(transaction=True)
def test_of_two_started_at_once_the_second_counts_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    maker = make_caller(Role.OPERATOR)
    for _ in range(MAX_ACTIVE_TESTS - 1):
        started(maker)
    counted, go_on = threading.Event(), threading.Event()
    real = dispatch
    outcomes: list[str] = []

    def slowly(test: SandboxTest) -> None:
        # The first has counted and is not committed yet.
        if not counted.is_set():
            counted.set()
            assert go_on.wait(60)
        real(test)

    def begin() -> None:
        try:
            started(maker)
            outcomes.append("started")
        except TooManyRequests as error:
            outcomes.append(error.code)
        finally:
            connection.close()

    monkeypatch.setattr(services, "dispatch", slowly)
    first, second = threading.Thread(target=begin), threading.Thread(target=begin)
    first.start()
    assert counted.wait(60)
    second.start()
    while second.is_alive() and not somebody_waits():
        second.join(0.05)
    go_on.set()
    first.join(60)
    second.join(60)
    assert sorted(outcomes) == ["started", "too_many_tests"]
    assert SandboxTest.objects.count() == MAX_ACTIVE_TESTS


def somebody_waits() -> bool:
    """Tell whether a session of the database waits for a lock."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return bool(cursor.fetchone()[0])


def test_cancelling_a_waiting_test_ends_it_at_once(maker: Caller) -> None:
    test = started(maker)
    ended = cancel_test(caller=maker, test=test)
    assert ended.status == SandboxTestStatus.CANCELLED
    assert ended.torn_down_at == ended.completed_at is not None
    assert [item.status for item in test.results.all()] == [Verdict.SKIPPED]
    assert cancel_test(caller=maker, test=test).cancel_requested_at == ended.cancel_requested_at


def test_another_organisation_finds_no_test(maker: Caller) -> None:
    test = started(maker)
    stranger = make_caller(Role.ADMIN)
    with pytest.raises(NotFound) as caught:
        test_for(stranger, test.pk)
    assert caught.value.code == "test_not_found"
    with pytest.raises(NotFound):
        cancel_test(caller=stranger, test=test)
    with pytest.raises(NotFound):
        test_for(maker, uuid.uuid4())


# --- The API ----------------------------------------------------------------------------------

ROOT = "/api/platform/agent-factory/test"


def signed_in(caller: Caller) -> APIClient:
    client = APIClient()
    client.force_authenticate(user=caller.user)
    return client


def test_results_and_cancelling_over_the_api(maker: Caller) -> None:
    test = started(maker)
    answer = signed_in(maker).get(f"{ROOT}/{test.pk}/results")
    assert (answer.status_code, answer.json()["status"]) == (200, "queued")
    answer = signed_in(maker).post(f"{ROOT}/{test.pk}/cancel", {"a": 1}, format="json")
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, "unknown_field")
    answer = signed_in(maker).post(f"{ROOT}/{test.pk}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (202, "cancelled")
    assert signed_in(maker).post(f"{ROOT}/{test.pk}/cancel").status_code == 202


def test_the_api_keeps_roles_and_organisations(maker: Caller) -> None:
    test = started(maker)
    viewer = make_caller(Role.VIEWER, maker.organization)
    assert signed_in(viewer).get(f"{ROOT}/{test.pk}/results").status_code == 200
    assert signed_in(viewer).post(f"{ROOT}/{test.pk}/cancel").status_code == 403
    stranger = make_caller(Role.ADMIN)
    for answer in (
        signed_in(stranger).get(f"{ROOT}/{test.pk}/results"),
        signed_in(stranger).post(f"{ROOT}/{test.pk}/cancel"),
        signed_in(maker).get(f"{ROOT}/{uuid.uuid4()}/results"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "test_not_found")
    assert APIClient().get(f"{ROOT}/{test.pk}/results").status_code == 401
    assert SandboxTest.objects.get().status == SandboxTestStatus.QUEUED


# --- Live progress ----------------------------------------------------------------------------


async def follow(user: User | AnonymousUser, test_id: uuid.UUID, query: str = "") -> Any:
    application = URLRouter(websocket_urlpatterns)
    socket = WebsocketCommunicator(application, f"/ws/factory/sandbox/{test_id}{query}")
    socket.scope["user"] = user
    connected, _ = await socket.connect(timeout=10)
    assert connected
    return socket


@pytest.mark.django_db(transaction=True)
def test_progress_is_a_snapshot_and_then_what_happens() -> None:
    caller = make_caller(Role.OPERATOR)
    test = started(caller)
    assert caller.user is not None

    async def watch() -> list[Any]:
        assert caller.user is not None
        socket = await follow(caller.user, test.pk)
        first = await socket.receive_json_from(timeout=10)
        await database_sync_to_async(cancel_test)(caller=caller, test=test)
        second = await socket.receive_json_from(timeout=10)
        await socket.disconnect()
        socket = await follow(caller.user, test.pk, "?after=0")
        missed = await socket.receive_json_from(timeout=10)
        await socket.disconnect()
        return [first, second, missed]

    first, second, missed = async_to_sync(watch)()
    assert (first["type"], first["status"], first["seq"]) == ("snapshot", "queued", 0)
    assert (second["kind"], second["payload"]["to"], second["seq"]) == ("status", "cancelled", 1)
    assert missed == second
    assert events.last_seq("sandboxtest", test.pk) == 1


@pytest.mark.django_db(transaction=True)
def test_progress_is_for_the_organisations_own_people() -> None:
    maker = make_caller(Role.OPERATOR)
    test = started(maker)
    strangers = make_caller(Role.ADMIN)
    former = make_caller(Role.OPERATOR, maker.organization)
    Membership.objects.filter(user=former.user).delete()

    async def turned_away(user: Any, test_id: uuid.UUID) -> int:
        socket = await follow(user, test_id)
        message = await socket.receive_output(timeout=10)
        code: int = message["code"]
        return code

    async def all_of_them() -> list[int]:
        return [
            await turned_away(AnonymousUser(), test.pk),
            await turned_away(strangers.user, test.pk),
            await turned_away(former.user, test.pk),
            await turned_away(maker.user, uuid.uuid4()),
        ]

    assert async_to_sync(all_of_them)() == [4401, 4404, 4404, 4404]
