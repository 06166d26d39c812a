"""Making and carrying out deployments in tests, without a worker in between."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.conf import settings

from provisioning import engine
from provisioning.drivers import get_driver
from provisioning.engine import StepEnded, StepPostponed
from provisioning.services import deploy_release
from provisioning.steps.registry import STEPS
from provisioning.stores import memory, queues
from provisioning.undo import undo
from registry.services.agents import create_release, reserve_agent
from tests.builders import make_caller, make_spec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from accounts.callers import Caller
    from config.embedded import EmbeddedServers
    from provisioning.models import Deployment
    from registry.models import Agent
    from registry.spec import AgentSpec

MAIN = """\
from agent_runtime import serve
from capabilities import CAPABILITIES

if __name__ == "__main__":
    serve(CAPABILITIES)
"""
CAPABILITY = """\
from typing import Any

from agent_runtime import Context


async def run(payload: dict[str, Any], context: Context) -> dict[str, Any]:
    return await context.builtin({operation!r}, payload)
"""
STEP_NAMES = [step.name for step in STEPS]
LONG_TERM: dict[str, Any] = {"memory": {"kind": "long_term"}}


def project(spec: AgentSpec, **changed: str) -> dict[str, str]:
    """Return the smallest project that runs `spec`; `changed` names files without `.py`."""
    names = [capability.name for capability in spec.capabilities]
    imports = "".join(f"from capabilities.{name} import run as {name}\n" for name in names)
    table = ", ".join(f"{name!r}: {name}" for name in names)
    files = {
        "main.py": MAIN,
        "capabilities/__init__.py": f"{imports}\nCAPABILITIES = {{{table}}}\n",
        "spec.json": spec.canonical_json(),
    }
    for capability in spec.capabilities:
        operation = str(getattr(capability.implementation, "operation", ""))
        files[f"capabilities/{capability.name}.py"] = CAPABILITY.format(operation=operation)
    return files | {f"{name}.py": text for name, text in changed.items()}


def make_agent(
    caller: Caller | None = None, files: dict[str, str] | None = None, **spec: Any
) -> tuple[Caller, Agent, Any]:
    """Make an agent with one release; return the caller, the agent and the release."""
    caller = caller or make_caller()
    made = make_spec(**spec)
    agent = reserve_agent(caller=caller, spec=made)
    release = create_release(
        caller=caller, agent=agent, spec=made, files=project(made, **(files or {}))
    )
    return caller, agent, release


def make_deployment(
    caller: Caller | None = None, files: dict[str, str] | None = None, **spec: Any
) -> tuple[Caller, Deployment]:
    """Make an agent, and a deployment of it that has not begun."""
    caller, agent, release = make_agent(caller, files, **spec)
    return caller, deploy_release(caller=caller, agent=agent, release=release)


def step_on(deployment: Deployment, *names: str) -> None:
    """Do these steps, trying again at once what may pass."""
    for name in names:
        while True:
            try:
                engine.run_step(deployment.pk, name)
            except StepPostponed:
                continue
            break


def carry_out(deployment: Deployment) -> Deployment:
    """Do what the queue would have the workers do, and return the deployment as it ended."""
    try:
        step_on(deployment, *STEP_NAMES)
        engine.finish(deployment.pk)
    except StepEnded:
        undo(deployment.pk)
    return fresh(deployment)


def fresh(deployment: Deployment) -> Deployment:
    """Return the deployment as it is in the database now."""
    rows = type(deployment).objects.select_related("agent", "release", "organization")
    return rows.get(pk=deployment.pk)


def statuses(deployment: Deployment) -> dict[str, str]:
    """Return the status of each step."""
    return dict(deployment.steps.order_by("position").values_list("name", "status"))


def made_outside(agent: Agent) -> list[str]:
    """Return everything that exists of the agent outside the database."""
    label = "agent-factory.agent"
    owned = get_driver(settings.RUNTIME_DRIVER).list_owned()
    found = [
        f"{item.kind} {item.name}" for item in owned if item.labels.get(label) == str(agent.pk)
    ]
    found += [f"queue {key}" for key in queues.list_owned() if key == agent.key]
    return found + [f"memory {key}" for key in memory.list_owned() if key == agent.key]


@contextmanager
def redis_away(servers: EmbeddedServers) -> Iterator[None]:
    """Stop the Redis server (the queue, live progress, the cache, agents) while the block runs."""
    servers.redis.stop(hurry=True)
    try:
        yield
    finally:
        servers.redis.begin()
        servers.redis.wait_ready()
