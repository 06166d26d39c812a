"""What a page costs: no more queries for many rows than for one, and no blob that is not shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from factory.services.revision import revise_agent
from factory.wizard.drafts import start_draft
from provisioning.enums import DeploymentStatus
from provisioning.services import retry_deployment
from tests.builders import make_request
from tests.factory.test_pages import end, make_agent

if TYPE_CHECKING:
    from accounts.callers import Caller
    from tests.pages import Visitor

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("path", ["/", "/deployments"])
def test_a_list_of_three_costs_no_more_queries_than_of_one(
    visitor: Visitor, caller: Caller, path: str
) -> None:
    make_agent(caller)
    visitor.open(path)
    with CaptureQueriesContext(connection) as one:
        visitor.open(path)
    make_agent(caller)
    make_agent(caller)
    with CaptureQueriesContext(connection) as three:
        visitor.open(path)
    assert len(three) == len(one)
    assert len(one) <= 12


def test_three_drafts_cost_no_more_queries_than_one(visitor: Visitor, caller: Caller) -> None:
    start_draft(caller=caller, template="memory-agent")
    visitor.open("/")
    with CaptureQueriesContext(connection) as one:
        visitor.open("/")
    start_draft(caller=caller, template="memory-agent")
    start_draft(caller=caller, template="blank")
    with CaptureQueriesContext(connection) as three:
        visitor.open("/")
    assert len(visitor.context["drafts"]) == 3
    assert len(three) == len(one)


def test_an_agents_page_costs_the_same_after_three_releases_and_deployments(
    visitor: Visitor, caller: Caller
) -> None:
    agent, deployment = make_agent(caller)
    end(deployment, DeploymentStatus.CANCELLED)
    path = reverse("agent", args=[agent.agent_id])
    visitor.open(path)
    with CaptureQueriesContext(connection) as one:
        visitor.open(path)
    for goal in ("Something else", "Something else again"):
        revise_agent(caller=caller, agent=agent, request=make_request(name=agent.name, goal=goal))
        end(retry_deployment(caller=caller, deployment=deployment), DeploymentStatus.CANCELLED)
    with CaptureQueriesContext(connection) as three:
        visitor.open(path)
    assert len(visitor.context["releases"]) == 3
    assert len(visitor.context["deployments"]) == 3
    assert len(three) == len(one)
    # The files of the release that is shown are read, for its README; those of no other.
    assert len(_reads_of_files(three)) == 1


def test_a_deployments_page_reads_no_files(visitor: Visitor, caller: Caller) -> None:
    _, deployment = make_agent(caller)
    for headers in ({}, {"HX-Target": "deployment-live"}):
        with CaptureQueriesContext(connection) as queries:
            visitor.client.get(reverse("deployment", args=[deployment.pk]), headers=headers)
        assert _reads_of_files(queries) == []


def _reads_of_files(queries: CaptureQueriesContext) -> list[str]:
    return [
        query["sql"]
        for query in queries.captured_queries
        if '"registry_release"."files"' in query["sql"]
    ]
