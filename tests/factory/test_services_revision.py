"""Changing an agent that exists: its words at once, its behaviour by a new release."""

from __future__ import annotations

from typing import Any

import pytest

from factory.models import Tier
from factory.services.catalog import tier_usage
from factory.services.revision import deploy_newest, edit_agent, revise_agent
from ledger.errors import Conflict, InvalidInput, NotFound, TooManyRequests
from provisioning.models import Deployment
from registry.services.agents import (
    activate_agent,
    deprecate_agent,
    register_agent,
    reserve_agent,
    unregister_agent,
)
from tests.builders import install, make_caller, make_request, make_spec
from tests.factory.making import REASON, create, passed_test

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _installed(db: None) -> None:
    install()


def test_how_an_agent_is_shown_can_be_changed() -> None:
    caller = make_caller()
    agent, _ = create(caller)

    edit_agent(
        caller=caller,
        agent=agent,
        changes={"display_name": " Shown ", "description": "", "tags": ["a"]},
    )

    agent.refresh_from_db()
    assert (agent.display_name, agent.description, agent.tags) == ("Shown", "", ["a"])
    assert agent.releases.count() == 1


@pytest.mark.parametrize(
    ("changes", "attr"),
    [
        ({"display_name": ""}, "display_name"),
        ({"display_name": "x" * 101}, "display_name"),
        ({"display_name": "two\nlines"}, "display_name"),
        ({"display_name": None}, "display_name"),
        ({"description": "x" * 201}, "description"),
        ({"tags": "a"}, "tags"),
        ({"tags": [""]}, "tags.0"),
        ({"tags": ["x"] * 21}, "tags"),
        ({"tags": float("nan")}, "tags"),
        ({"status": "active"}, "status"),
        ({"tier": 5}, "tier"),
    ],
)
def test_out_of_bounds_nothing_is_changed(changes: dict[str, Any], attr: str) -> None:
    caller = make_caller()
    agent = reserve_agent(caller=caller, spec=make_spec())

    with pytest.raises(InvalidInput) as caught:
        edit_agent(caller=caller, agent=agent, changes=changes)

    assert [problem.attr for problem in caught.value.problems] == [attr]
    assert all(problem.detail for problem in caught.value.problems)


def test_configuring_anew_is_the_next_release() -> None:
    caller = make_caller()
    agent, _ = create(caller)

    release = revise_agent(caller=caller, agent=agent, request=make_request(name="Renamed", tier=4))

    agent.refresh_from_db()
    assert (release.number, agent.name, agent.tier) == (2, "Renamed", 4)
    assert release.agent_spec().agent_id == agent.agent_id


def test_the_id_stays() -> None:
    caller = make_caller()
    agent, _ = create(caller)
    for other in ("WowOther", 5):
        with pytest.raises(InvalidInput) as caught:
            revise_agent(caller=caller, agent=agent, request=make_request(agent_id=other))
        assert caught.value.problems[0].attr == "agent_id"


def test_changing_to_a_full_tier_is_refused() -> None:
    Tier.objects.filter(number=4).update(quota=0)
    caller = make_caller()
    agent, _ = create(caller)
    with pytest.raises(TooManyRequests):
        revise_agent(caller=caller, agent=agent, request=make_request(tier=4))
    agent.refresh_from_db()
    assert agent.tier == 3


def test_a_deprecated_agent_counts_in_the_quota_as_long_as_it_runs() -> None:
    Tier.objects.filter(number=3).update(quota=1)
    caller = make_caller()
    agent, _ = create(caller)
    register_agent(agent=agent, release=agent.releases.get(), endpoint="http://127.0.0.1:9")
    activate_agent(caller=caller, agent=agent)
    deprecate_agent(caller=caller, agent=agent)

    with pytest.raises(TooManyRequests):
        create(caller)
    assert next(usage.used for usage in tier_usage(caller=caller) if usage.tier.number == 3) == 1
    unregister_agent(agent=agent)
    second, _ = create(caller)

    assert agent.status == "deprecated"
    assert second.tier == 3


def test_the_newest_release_is_deployed_once_it_may() -> None:
    caller = make_caller()
    agent, first = create(caller)
    Deployment.objects.filter(pk=first.pk).update(status="failed")
    release = revise_agent(caller=caller, agent=agent, request=make_request(goal="New"))

    with pytest.raises(Conflict) as caught:
        deploy_newest(caller=caller, agent=agent)
    assert caught.value.code == "sandbox_test_required"
    passed_test(caller, release.agent_spec())
    deployment = deploy_newest(caller=caller, agent=agent)

    assert deployment.release == release


def test_without_a_release_there_is_nothing_to_deploy() -> None:
    caller = make_caller()
    agent = reserve_agent(caller=caller, spec=make_spec())
    with pytest.raises(Conflict) as caught:
        deploy_newest(caller=caller, agent=agent)
    assert caught.value.code == "release_missing"


def test_another_organisation_changes_nothing() -> None:
    agent, _ = create(make_caller())
    stranger = make_caller()
    with pytest.raises(NotFound):
        edit_agent(caller=stranger, agent=agent, changes={"tags": []})
    with pytest.raises(NotFound):
        revise_agent(caller=stranger, agent=agent, request=make_request())
    with pytest.raises(NotFound):
        deploy_newest(caller=stranger, agent=agent, skip_test_reason=REASON)
