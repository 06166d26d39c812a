"""What a real agent, run as a local process, wrote and counted."""

from __future__ import annotations

import shutil
from dataclasses import astuple
from typing import TYPE_CHECKING

import pytest

from gateway.services import invoke_agent
from ledger.errors import Conflict, InvalidInput, Unavailable
from provisioning.observation import MAX_LINE_CHARACTERS, read_figures, read_logs
from provisioning.services import undeploy_agent
from provisioning.undo import undo
from registry.models import Agent
from registry.services.agents import credentials_of
from tests.provisioning.saga import LONG_TERM, carry_out, fresh, make_deployment, step_on

if TYPE_CHECKING:
    from pytest_django.fixtures import Settings

    from provisioning.drivers.base import RuntimeDriver

pytestmark = pytest.mark.django_db(transaction=True)

_CLOSED = {
    "type": "object",
    "properties": {"word": {"type": "string"}},
    "additionalProperties": False,
}
_CAPABILITY = {
    "name": "describe_agent",
    "input_schema": _CLOSED,
    "output_schema": {"type": "object"},
    "implementation": {"kind": "builtin", "operation": "agent.describe"},
}


def test_a_running_agent_is_counted_and_read(process_driver: RuntimeDriver) -> None:
    caller, deployment = make_deployment(capabilities=[_CAPABILITY])
    done = carry_out(deployment)
    before = read_figures(done)
    assert (before.calls, before.errors, before.mean_seconds, before.capabilities) == (
        0, 0, None, (),
    )  # fmt: skip

    for payload in ({}, {"word": "x"}, {"odd": 1}):
        try:
            invoke_agent(
                caller=caller,
                agent=done.agent,
                capability="describe_agent",
                payload=payload,
                trial=True,
            )
        except InvalidInput:
            assert payload == {"odd": 1}

    figures = read_figures(done)
    (only,) = figures.capabilities
    assert (only.name, only.calls, only.errors) == ("describe_agent", 3, 1)
    assert (figures.calls, figures.errors, figures.in_flight) == (3, 1, 0)
    assert only.mean_seconds is not None
    assert only.usual_seconds is not None
    assert 0 < only.mean_seconds <= only.usual_seconds
    assert figures.mean_seconds == pytest.approx(only.mean_seconds)
    assert figures.memory_mb is not None
    assert 5 < figures.memory_mb < 512
    log = "\n".join(read_logs(done))
    assert '"event": "capability completed"' in log
    assert '"event": "capability failed"' in log
    assert len(read_logs(done, lines=1)) == 1

    undeploy_agent(caller=caller, agent=done.agent)
    undo(done.pk)
    stopped = fresh(done)
    assert read_logs(stopped) == []
    with pytest.raises(Conflict, match="does not run"):
        read_figures(stopped)


def test_an_agent_that_stopped_is_said_to_have(process_driver: RuntimeDriver) -> None:
    _, deployment = make_deployment()
    done = carry_out(deployment)
    process_driver.remove_instance(done.instance_name)
    with pytest.raises(Unavailable, match="it is starting, or it has stopped"):
        read_figures(done)
    assert read_logs(done) == []


def test_somebody_else_at_the_address_learns_nothing(process_driver: RuntimeDriver) -> None:
    _, first = make_deployment()
    _, second = make_deployment()
    one, other = carry_out(first), carry_out(second)
    Agent.objects.filter(pk=one.agent_id).update(endpoint=other.agent.endpoint)
    with pytest.raises(Unavailable, match="Something else answers"):
        read_figures(fresh(one))


def test_a_log_that_can_not_be_read_is_told(
    process_driver: RuntimeDriver, settings: Settings
) -> None:
    _, deployment = make_deployment()
    step_on(deployment, "build_image")
    broken = settings.DATA_DIR / "process" / "instances" / deployment.instance_name / "output.log"
    broken.mkdir(parents=True)
    with pytest.raises(Unavailable, match="Could not read the log"):
        read_logs(fresh(deployment))
    shutil.rmtree(broken.parent)


def test_credentials_and_long_lines_do_not_come_through(process_driver: RuntimeDriver) -> None:
    spill = (
        "import os, pathlib\n"
        "from agent_runtime import serve\n"
        "from capabilities import CAPABILITIES\n"
        "print(pathlib.Path(os.environ['AGENT_CREDENTIALS_FILE']).read_text(), flush=True)\n"
        "print('x' * 5000, flush=True)\n"
        "serve(CAPABILITIES)\n"
    )
    _, deployment = make_deployment(files={"main": spill}, **LONG_TERM)
    done = carry_out(deployment)
    lines = read_logs(done)
    text = "\n".join(lines)
    assert text.count("•••") == 4
    for secret in astuple(credentials_of(done.agent)):
        assert secret not in text
    assert max(len(line) for line in lines) == MAX_LINE_CHARACTERS
