"""From a request to an agent that is being deployed, once."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection

from accounts.roles import Role
from factory.models import Blueprint, IdempotencyKey, Tier
from factory.services import creation
from factory.services.blueprints import save_draft
from factory.validation import validate
from ledger.errors import Conflict, DomainError, InvalidInput, NotAllowed, NotFound, TooManyRequests
from provisioning.models import Deployment, DeploymentStep
from registry.models import Agent, Release
from sandbox.models import Waiver
from templates_lib.services import render_and_check
from tests.builders import install, make_caller, make_organization, make_request
from tests.factory.making import REASON, create, passed_test
from tests.running import impatient

if TYPE_CHECKING:
    from accounts.callers import Caller
    from factory.validation import Report
    from registry.spec import AgentSpec
    from templates_lib.rendering import RenderedProject

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _installed(db: None) -> None:
    install()


# --- Creating ---------------------------------------------------------------------------------


def test_an_agent_is_made_with_its_first_release_and_a_deployment() -> None:
    caller = make_caller()
    request = make_request(name="Customer Context Agent")

    agent, deployment = create(caller, request=request)

    assert (agent.agent_id, agent.status, agent.tier) == ("WowCustomerContext", "draft", 3)
    release = agent.releases.get()
    assert deployment.release == release
    assert deployment.status == "pending"
    assert deployment.monthly_cost_inr == 15000
    assert DeploymentStep.objects.filter(deployment=deployment).count() == 6
    assert "capabilities/analyze_sentiment.py" in release.files
    blueprint = Blueprint.objects.get()
    assert (blueprint.status, blueprint.agent, blueprint.request) == ("deployed", agent, request)
    assert blueprint.template_version is not None


def test_the_gate_asks_for_a_test() -> None:
    caller = make_caller()

    with pytest.raises(Conflict) as caught:
        create(caller, skip=None)

    assert caught.value.code == "sandbox_test_required"
    assert not Agent.objects.exists()
    assert not Blueprint.objects.exists()


def test_a_passed_test_of_this_very_specification_opens_the_gate() -> None:
    caller = make_caller()
    request = make_request()
    agent, _ = create(caller, request=request)
    spec = agent.releases.get().agent_spec()
    Waiver.objects.all().delete()
    other = make_request(name=request["name"], goal="Another goal")
    Agent.objects.update(deleted_at=agent.created_at)
    passed_test(caller, spec)

    with pytest.raises(Conflict):
        create(caller, skip=None, request=other)
    made, _ = create(caller, skip=None, request=request)

    assert made.releases.get().digest == spec.digest
    assert not Waiver.objects.exists()


def test_a_skipped_test_leaves_its_reason() -> None:
    caller = make_caller()
    agent, _ = create(caller)

    waiver = Waiver.objects.get()
    assert (waiver.reason, waiver.digest) == (REASON, agent.releases.get().digest)


@pytest.mark.parametrize("reason", ["", "   ", "x" * 501])
def test_a_reason_has_to_be_one(reason: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        create(make_caller(), skip=reason)
    assert caught.value.problems[0].attr == "skip_test_reason"


def test_what_is_wrong_is_told_by_field_and_nothing_is_made() -> None:
    with pytest.raises(InvalidInput) as caught:
        create(make_caller(), changes={"tier": 9, "tools": ["teleport"]})

    assert [problem.attr for problem in caught.value.problems] == ["tier"]
    assert not Agent.objects.exists()


@pytest.mark.parametrize("role", [Role.VIEWER, Role.APPROVER])
def test_creating_needs_a_role(role: str) -> None:
    with pytest.raises(NotAllowed):
        create(make_caller(role))


def test_a_taken_id_comes_with_free_ones() -> None:
    caller = make_caller()
    create(caller, changes={"agent_id": "WowContext"})

    with pytest.raises(Conflict) as caught:
        create(caller, changes={"agent_id": "WOWCONTEXT"})

    assert caught.value.code == "agent_id_taken"
    [problem] = caught.value.problems
    assert (problem.attr, "WOWCONTEXT2" in problem.detail) == ("agent_id", True)
    create(make_caller(), changes={"agent_id": "WowContext"})


def test_a_full_tier_says_who_can_raise_it() -> None:
    Tier.objects.filter(number=3).update(quota=1)
    caller = make_caller()
    create(caller)

    with pytest.raises(TooManyRequests) as caught:
        create(caller)

    assert caught.value.code == "tier_quota_full"
    assert "raise the quota" in caught.value.message
    assert Agent.objects.count() == 1


# --- Once -------------------------------------------------------------------------------------


def test_the_same_key_and_request_make_one_agent() -> None:
    caller = make_caller()
    request = make_request()

    first = create(caller, request=request, idempotency_key="key-1")
    again = create(caller, request=dict(request), idempotency_key="key-1")

    assert first == again
    assert Agent.objects.count() == IdempotencyKey.objects.count() == 1


def test_the_same_key_for_another_request_is_refused() -> None:
    caller = make_caller()
    request = make_request()
    create(caller, request=request, idempotency_key="key-1")

    for changed in ({"request": make_request()}, {"request": request, "skip": "Another reason"}):
        with pytest.raises(Conflict) as caught:
            create(caller, idempotency_key="key-1", **changed)
        assert caught.value.code == "idempotency_key_reused"


def test_a_key_is_an_organisations_own_and_a_refused_request_leaves_none() -> None:
    with pytest.raises(InvalidInput):
        create(make_caller(), changes={"tier": 9}, idempotency_key="key-1")
    create(make_caller(), idempotency_key="key-1")
    create(make_caller(), idempotency_key="key-1")
    assert IdempotencyKey.objects.count() == 2


@pytest.mark.parametrize("key", ["", " ", "k" * 201, "a\nb", "é", "a b"])
def test_a_key_is_visible_ascii(key: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        create(make_caller(), idempotency_key=key)
    assert caught.value.problems[0].attr == "Idempotency-Key"


def race(callers: list[Caller], arguments: list[dict[str, Any]]) -> list[str]:
    start = threading.Barrier(len(callers))
    outcomes: list[str] = []

    def run(caller: Caller, more: dict[str, Any]) -> None:
        try:
            start.wait(20)
            agent, _ = create(caller, **more)
            outcomes.append(str(agent.pk))
        except DomainError as error:
            outcomes.append(error.code)
        finally:
            connection.close()

    threads = [
        threading.Thread(target=run, args=pair) for pair in zip(callers, arguments, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return outcomes


@pytest.mark.django_db(transaction=True)
def test_of_two_creators_of_one_name_exactly_one_wins() -> None:
    organization = make_organization()
    callers = [make_caller(organization=organization) for _ in range(2)]

    outcomes = race(callers, [{"changes": {"agent_id": "WowRace"}} for _ in callers])

    assert len(outcomes) == 2
    assert outcomes.count("agent_id_taken") == 1
    assert Agent.objects.count() == Deployment.objects.count() == Release.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_the_last_place_of_a_quota_is_given_once() -> None:
    Tier.objects.filter(number=3).update(quota=1)
    organization = make_organization()
    callers = [make_caller(organization=organization) for _ in range(3)]

    outcomes = race(callers, [{} for _ in callers])

    assert outcomes.count("tier_quota_full") == 2
    assert Agent.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_the_same_request_twice_at_once_makes_one_agent() -> None:
    caller = make_caller()
    request = make_request()

    outcomes = race(
        [caller, caller], [{"request": request, "idempotency_key": "key-1"} for _ in range(2)]
    )

    assert outcomes == [str(Agent.objects.get().pk)] * 2


@pytest.mark.django_db(transaction=True)
def test_nothing_is_held_while_the_code_is_rendered(monkeypatch: pytest.MonkeyPatch) -> None:
    caller = make_caller()
    request = make_request()
    rendering, go_on = threading.Event(), threading.Event()
    real = render_and_check

    def slowly(spec: AgentSpec) -> RenderedProject:
        if threading.current_thread() is not threading.main_thread():
            rendering.set()
            assert go_on.wait(60)
        return real(spec)

    monkeypatch.setattr(creation, "render_and_check", slowly)
    outcomes: list[str] = []
    same: dict[str, Any] = {"request": request, "idempotency_key": "key-1"}
    slow = threading.Thread(target=lambda: outcomes.extend(race([caller], [same])))
    slow.start()
    assert rendering.wait(60)
    with impatient():
        # The same request again is not held up; the slow one finds what it made.
        agent, _ = create(caller, **same)
    go_on.set()
    slow.join(60)
    assert outcomes == [str(agent.pk)]
    assert Agent.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_repeated_request_is_known_when_the_first_took_the_name_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caller = make_caller()
    request = make_request()
    real = validate
    first: list[Agent] = []

    def late(**given: Any) -> Report:
        if not first:
            monkeypatch.setattr(creation, "validate", real)
            first.append(create(caller, request=request, idempotency_key="key-1")[0])
        return real(**given)

    monkeypatch.setattr(creation, "validate", late)
    again, _ = create(caller, request=request, idempotency_key="key-1")
    assert first == [again]
    with pytest.raises(Conflict) as caught:
        create(caller, request=request, idempotency_key="key-2")
    assert caught.value.code == "agent_id_taken"


# --- Blueprints -------------------------------------------------------------------------------


def test_a_draft_becomes_the_agent_it_asked_for() -> None:
    caller = make_caller()
    draft = save_draft(caller=caller, request=make_request())

    agent, _ = create(caller, request=draft.request, blueprint=draft)

    assert (draft.status, draft.agent) == ("deployed", agent)
    assert Blueprint.objects.count() == 1


def test_a_refused_draft_keeps_what_is_wrong_and_can_be_mended() -> None:
    caller = make_caller()
    draft = save_draft(caller=caller, request=make_request(tier=9))

    for _ in range(2):
        with pytest.raises(InvalidInput):
            create(caller, request=draft.request, blueprint=draft)
        assert draft.status == "validation_failed"
        assert [finding["field"] for finding in draft.findings] == ["tier"]
    create(caller, blueprint=draft)

    assert (draft.status, draft.findings) == ("deployed", [])


def test_another_organisations_draft_is_not_there() -> None:
    draft = save_draft(caller=make_caller(), request=make_request())

    with pytest.raises(NotFound):
        create(make_caller(), blueprint=draft)

    draft.refresh_from_db()
    assert draft.status == "draft"
    assert not Agent.objects.exists()
