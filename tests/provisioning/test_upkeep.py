"""Looking after what runs costs little, and does not get in the way of undeploying."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from provisioning import upkeep
from provisioning.enums import DeploymentStatus
from provisioning.health import Checkup, check
from provisioning.services import undeploy_agent
from provisioning.undo import undo
from registry.enums import Health
from registry.models import Agent
from tests.provisioning.saga import LONG_TERM, carry_out, fresh, made_outside, make_deployment

if TYPE_CHECKING:
    from provisioning.drivers.base import Instance, RuntimeDriver

pytestmark = pytest.mark.django_db(transaction=True)


def test_healthy_agents_cost_no_queries_and_no_turns(process_driver: RuntimeDriver) -> None:
    made = [carry_out(make_deployment(**LONG_TERM)[1])]
    counts = []
    for number in (1, 2):
        with CaptureQueriesContext(connection) as asked:
            upkeep.look_after_instances()
            upkeep.restore_queues()
            upkeep.remove_orphans()
        counts.append(len(asked))
        assert "advisory" not in str(asked.captured_queries)
        # The rendered project is large, and not looked at.
        assert '"files"' not in str(asked.captured_queries)
        if number == 1:
            made += [carry_out(make_deployment(**LONG_TERM)[1]) for _ in range(2)]
    assert [row.status for row in made] == [DeploymentStatus.RUNNING] * 3
    assert counts[0] == counts[1]
    assert [len(made_outside(row.agent)) for row in made] == [4, 4, 4]


def test_an_agent_undeployed_as_it_is_looked_at_gets_no_address(
    process_driver: RuntimeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller, deployment = make_deployment()
    done = carry_out(deployment)
    real = process_driver.inspect

    def late(name: str) -> Instance:
        found = replace(real(name), address="http://127.0.0.1:1")
        undeploy_agent(caller=caller, agent=done.agent)
        monkeypatch.undo()
        undo(done.pk)
        return found

    monkeypatch.setattr(process_driver, "inspect", late)
    upkeep.look_after_instances()
    agent = Agent.objects.get()
    assert (agent.endpoint, agent.registered_at, agent.current_release) == ("", None, None)
    assert fresh(done).status == DeploymentStatus.STOPPED


def test_an_agent_that_moved_is_registered_where_it_answers(process_driver: RuntimeDriver) -> None:
    done = carry_out(make_deployment()[1])
    Agent.objects.update(endpoint="http://127.0.0.1:1")
    upkeep.look_after_instances()
    assert Agent.objects.get().endpoint == done.agent.endpoint


def test_an_agent_undeployed_as_it_is_asked_has_no_health(
    process_driver: RuntimeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller, deployment = make_deployment()
    done = carry_out(deployment)
    before = fresh(done).agent.health_checked_at

    def late(address: str) -> Checkup:
        checkup = check(address)
        undeploy_agent(caller=caller, agent=done.agent)
        undo(done.pk)
        connection.close()
        return checkup

    monkeypatch.setattr(upkeep, "check", late)
    upkeep.check_agents()
    agent = Agent.objects.get()
    assert (agent.health, agent.health_detail) == (Health.UNKNOWN, {})
    assert agent.health_checked_at == before
