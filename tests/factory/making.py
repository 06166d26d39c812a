"""Agents made by the service, and tests that count as passed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from factory.services.creation import create_agent
from provisioning.models import Deployment
from registry.models import Agent
from sandbox.models import SandboxTest, ScenarioResult
from tests.builders import make_request

if TYPE_CHECKING:
    from accounts.callers import Caller
    from registry.spec import AgentSpec

REASON = "Tested by hand on the bench."


def create(caller: Caller, skip: str | None = REASON, **more: Any) -> tuple[Agent, Deployment]:
    request = more.pop("request", None) or make_request(**more.pop("changes", {}))
    return create_agent(caller=caller, request=request, skip_test_reason=skip, **more)


def passed_test(caller: Caller, spec: AgentSpec, status: str = "PASSED") -> None:
    test = SandboxTest.objects.create(
        organization=caller.organization,
        spec=spec.to_json_dict(),
        digest=spec.digest,
        driver="docker",
        status="passed" if status == "PASSED" else "failed",
    )
    ScenarioResult.objects.create(
        test=test, position=0, name="Store", capability="store_context", input={}, status=status
    )
