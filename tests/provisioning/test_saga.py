"""The whole saga on real parts: to a running agent, and back again from wherever it fails."""

from __future__ import annotations

import re
import socket
import threading
from dataclasses import astuple
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import httpx
import psycopg
import pytest
import redis

from ledger.models import ProgressEvent
from provisioning import reconciler
from provisioning.drivers.base import InstanceState
from provisioning.enums import DeploymentStatus
from provisioning.services import (
    cancel_deployment,
    describe_deployment,
    retry_deployment,
    undeploy_agent,
)
from provisioning.steps.base import StepContext, StepFailure, split_output
from provisioning.steps.health_check import HealthCheck
from provisioning.steps.registry import STEPS_BY_NAME
from provisioning.stores.memory import MemoryStore
from provisioning.stores.queues import QueueStore
from provisioning.undo import undo
from registry.enums import AgentStatus, Health
from registry.models import Agent
from registry.services.agents import activate_agent, credentials_of
from tests.provisioning.saga import (
    LONG_TERM,
    STEP_NAMES,
    carry_out,
    fresh,
    made_outside,
    make_deployment,
    statuses,
    step_on,
)

if TYPE_CHECKING:
    from pytest_django.fixtures import Settings

    from provisioning.drivers.base import RuntimeDriver
    from provisioning.models import Deployment

pytestmark = pytest.mark.django_db(transaction=True)

NOWHERE = "127.0.0.1:1"


def events_of(deployment: Deployment) -> list[tuple[str, ...]]:
    rows = ProgressEvent.objects.filter(subject_id=deployment.pk).order_by("seq")
    return [(row.kind, row.payload.get("step", ""), row.payload.get("to", "")) for row in rows]


def assert_undone(deployment: Deployment, failed_at: str) -> None:
    """Check that it failed at this step and left nothing, and that Retry then works."""
    assert deployment.status == DeploymentStatus.FAILED, deployment.error_detail
    assert deployment.leftovers == []
    assert deployment.completed_at is not None
    position = STEP_NAMES.index(failed_at)
    assert list(statuses(deployment).values()) == (
        ["undone"] * (position + 1) + ["pending"] * (len(STEP_NAMES) - position - 1)
    )
    failed = deployment.steps.get(name=failed_at)
    assert failed.error == deployment.error_detail
    assert made_outside(deployment.agent) == []
    agent = Agent.objects.get(pk=deployment.agent_id)
    assert (agent.registered_at, agent.endpoint, agent.status) == (None, "", "draft")
    kinds = events_of(deployment)
    undone = [step for kind, step, to in kinds if kind == "status" and to == "undone"]
    assert undone == STEP_NAMES[position::-1]
    assert kinds[-1] == ("status", "", "failed")


def test_every_step_is_done_and_the_agent_answers(process_driver: RuntimeDriver) -> None:
    caller, deployment = make_deployment(**LONG_TERM)
    done = carry_out(deployment)
    assert done.status == DeploymentStatus.RUNNING, (done.error_detail, statuses(done))
    assert set(statuses(done).values()) == {"completed"}
    agent = done.agent
    assert (agent.status, agent.health) == (AgentStatus.DRAFT, Health.HEALTHY)
    assert agent.current_release == done.release
    assert agent.registered_at is not None
    assert httpx.get(f"{agent.endpoint}/ready").status_code == 200
    answer = httpx.post(
        f"{agent.endpoint}/invoke/describe_agent",
        headers={"Authorization": f"Bearer {credentials_of(agent).invoke_token}"},
        json={},
    )
    assert answer.status_code == 200, answer.text
    assert sorted(made_outside(agent)) == [
        f"image {done.image_tag}",
        f"instance {done.instance_name}",
        f"memory {agent.key}",
        f"queue {agent.key}",
    ]
    expected: list[tuple[str, ...]] = []
    for name in STEP_NAMES:
        expected.append(("status", name, "in_progress"))
        if name == "build_image":
            expected.append(("status", "", "provisioning"))
        expected.append(("status", name, "completed"))
    assert events_of(done) == [*expected, ("status", "", "running")]

    activate_agent(caller=caller, agent=agent)
    undeploy_agent(caller=caller, agent=agent)
    assert undo(done.pk) is True
    stopped = fresh(done)
    assert stopped.status == DeploymentStatus.STOPPED
    assert stopped.stopped_at is not None
    assert stopped.completed_at == done.completed_at
    assert made_outside(agent) == []
    unregistered = type(agent).objects.get(pk=agent.pk)
    assert unregistered.endpoint == ""
    assert unregistered.current_release is None
    undoing = [step for kind, step, _ in events_of(done) if kind == "undoing"]
    assert undoing == STEP_NAMES[::-1]

    again = carry_out(retry_deployment(caller=caller, deployment=stopped))
    assert again.status == DeploymentStatus.RUNNING


def test_an_agent_without_memory_gets_no_memory_store(process_driver: RuntimeDriver) -> None:
    _, deployment = make_deployment()
    done = carry_out(deployment)
    assert done.status == DeploymentStatus.RUNNING
    assert done.steps.get(name="setup_memory_store").detail.startswith("This agent keeps no memory")
    assert f"memory {done.agent.key}" not in made_outside(done.agent)


def test_an_image_that_is_gone_fails_the_container(process_driver: RuntimeDriver) -> None:
    caller, deployment = make_deployment()
    step_on(deployment, "build_image")
    process_driver.remove_image(deployment.image_tag)
    failed = carry_out(deployment)
    assert failed.error_code == "image_gone"
    assert "Deploy again" in failed.error_detail
    assert_undone(failed, "create_container")
    assert carry_out(retry_deployment(caller=caller, deployment=failed)).status == "running"


def test_redis_away_fails_the_queues(process_driver: RuntimeDriver, settings: Settings) -> None:
    caller, deployment = make_deployment()
    here = settings.AGENT_REDIS_URL
    step_on(deployment, "build_image", "create_container")
    settings.AGENT_REDIS_URL = f"redis://{NOWHERE}/0"
    failed = carry_out(deployment)
    settings.AGENT_REDIS_URL = here
    assert failed.error_detail.startswith("The message queues could not be made.")
    assert failed.steps.get(name="provision_queues").attempt == 4
    retries = [step for kind, step, _ in events_of(failed) if kind == "retrying"]
    assert retries == ["provision_queues"] * 3
    assert_undone(failed, "provision_queues")
    assert carry_out(retry_deployment(caller=caller, deployment=failed)).status == "running"


def test_redis_that_comes_back_in_time_fails_nothing(
    process_driver: RuntimeDriver, settings: Settings
) -> None:
    from provisioning import engine
    from provisioning.engine import StepPostponed

    _, deployment = make_deployment()
    here = settings.AGENT_REDIS_URL
    step_on(deployment, "build_image", "create_container")
    settings.AGENT_REDIS_URL = f"redis://{NOWHERE}/0"
    waits = []
    for _ in range(3):
        with pytest.raises(StepPostponed) as postponed:
            engine.run_step(deployment.pk, "provision_queues")
        waits.append(postponed.value.seconds)
    assert waits == [1, 2, 4]
    settings.AGENT_REDIS_URL = here
    assert carry_out(deployment).status == DeploymentStatus.RUNNING


def test_postgresql_that_refuses_roles_fails_the_memory(
    process_driver: RuntimeDriver, settings: Settings
) -> None:
    caller, deployment = make_deployment(**LONG_TERM)
    here = settings.AGENT_DATABASE_URL
    with psycopg.connect(here, autocommit=True) as admin:
        admin.execute("DROP ROLE IF EXISTS powerless")
        admin.execute("CREATE ROLE powerless LOGIN PASSWORD 'powerless' NOCREATEROLE")
        parts = urlsplit(here)
        place = f"powerless:powerless@{parts.hostname}:{parts.port}"
        admin.execute(f"GRANT CONNECT ON DATABASE {parts.path[1:]} TO powerless")
        settings.AGENT_DATABASE_URL = urlunsplit(parts._replace(netloc=place))
        failed = carry_out(deployment)
        settings.AGENT_DATABASE_URL = here
        admin.execute(f"REVOKE ALL ON DATABASE {parts.path[1:]} FROM powerless")
        admin.execute("DROP ROLE powerless")
    assert failed.error_detail.startswith("The memory store could not be made.")
    assert failed.steps.get(name="setup_memory_store").attempt == 1
    assert_undone(failed, "setup_memory_store")
    assert carry_out(retry_deployment(caller=caller, deployment=failed)).status == "running"


def test_an_agent_that_exits_is_shown_with_its_last_words(process_driver: RuntimeDriver) -> None:
    _, deployment = make_deployment(
        files={"main": "print('I was told to stop', flush=True)\nraise SystemExit(3)\n"}
    )
    failed = carry_out(deployment)
    assert "I was told to stop" in failed.error_detail
    at = next(s.name for s in failed.steps.all() if s.error)
    assert at in ("create_container", "register_agent", "health_check")
    assert_undone(failed, at)


def test_an_agent_that_never_gets_ready_says_what_it_waits_for(
    process_driver: RuntimeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HealthCheck, "timeout_seconds", 8)
    _, deployment = make_deployment()
    step_on(deployment, *STEP_NAMES[:-1])
    key = deployment.agent.key
    secrets = credentials_of(deployment.agent)
    QueueStore(key).remove()
    failed = carry_out(deployment)
    assert failed.error_code == "agent_not_ready"
    assert re.search(r"It waits for .*redis: ", failed.error_detail), failed.error_detail
    for secret in (secrets.redis_password, secrets.invoke_token, secrets.egress_token):
        assert secret not in failed.error_detail
    assert_undone(failed, "health_check")


def test_an_agent_killed_before_its_health_check_fails_it(process_driver: RuntimeDriver) -> None:
    _, deployment = make_deployment()
    step_on(deployment, *STEP_NAMES[:-1])
    process_driver.remove_instance(deployment.instance_name)
    failed = carry_out(deployment)
    assert failed.error_code == "instance_stopped"
    assert_undone(failed, "health_check")


def test_something_else_at_the_address_is_not_the_agent(process_driver: RuntimeDriver) -> None:
    from provisioning.health import check

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert check(f"http://127.0.0.1:{port}").health == Health.UNREACHABLE
    assert check("http://[broken").health == Health.UNREACHABLE


def test_credentials_in_an_agents_output_are_blotted_out(process_driver: RuntimeDriver) -> None:
    spill = (
        "import os, pathlib\n"
        "path = os.environ.get('AGENT_CREDENTIALS_FILE', '/run/agent/credentials.json')\n"
        "print(pathlib.Path(path).read_text(), flush=True)\n"
        "raise SystemExit(1)\n"
    )
    _, deployment = make_deployment(files={"main": spill})
    failed = carry_out(deployment)
    secrets = credentials_of(failed.agent)
    shown = str(describe_deployment(failed))
    assert "•••" in shown
    for secret in (secrets.redis_password, secrets.invoke_token, secrets.egress_token):
        assert secret not in shown


def test_an_agent_that_wrote_empty_lines_wrote_no_output(process_driver: RuntimeDriver) -> None:
    silent = "print('\\n \\n', flush=True)\nraise SystemExit(1)\n"
    _, deployment = make_deployment(files={"main": silent})
    failed = carry_out(deployment)
    assert failed.error_code == "instance_stopped"
    assert failed.error_detail.endswith("It wrote no output.")


def test_of_a_credential_that_is_cut_in_two_nothing_is_told_or_logged(
    process_driver: RuntimeDriver, caplog: pytest.LogCaptureFixture
) -> None:
    # The first 20 of the last 900 characters are the end of the token.
    spill = (
        "import json, os, pathlib\n"
        "text = pathlib.Path(os.environ['AGENT_CREDENTIALS_FILE']).read_text()\n"
        "print(text + json.loads(text)['invoke_token'] + '.' * 880, flush=True)\n"
        "raise SystemExit(1)\n"
    )
    _, deployment = make_deployment(files={"main": spill}, **LONG_TERM)
    step_on(deployment, "build_image", "create_container")
    for _ in range(500):
        if process_driver.inspect(deployment.instance_name).state is InstanceState.EXITED:
            break
        threading.Event().wait(0.02)
    held = astuple(credentials_of(deployment.agent))
    for name in ("register_agent", "health_check"):
        with pytest.raises(StepFailure) as failure:
            STEPS_BY_NAME[name].apply(StepContext(deployment))
        said, output = split_output(failure.value.message)
        assert said.startswith("The agent stopped")
        assert output.endswith("..")
        assert [secret for secret in held if secret[-8:] in output] == []

    with caplog.at_level("DEBUG"):
        failed = carry_out(deployment)
    assert failed.error_code == "instance_stopped"
    assert "step failed" in caplog.text
    for place in (caplog.text, failed.error_detail, str(describe_deployment(failed))):
        assert "•••" in place
        assert [secret for secret in held if secret[-8:] in place] == []


def test_a_bug_that_tells_credentials_is_logged_without_them(
    process_driver: RuntimeDriver,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    _, deployment = make_deployment()
    held = astuple(credentials_of(deployment.agent))

    def broken(*_: object) -> None:
        raise KeyError(*held)

    with monkeypatch.context() as patched, caplog.at_level("DEBUG"):
        patched.setattr(process_driver, "ensure_instance", broken)
        patched.setattr(process_driver, "remove_instance", broken)
        failed = carry_out(deployment)
    assert failed.status == DeploymentStatus.ROLLBACK_FAILED
    assert "step failed unexpectedly" in caplog.text
    assert "step not undone" in caplog.text
    assert caplog.text.count("•••") >= 8
    assert [secret for secret in held if secret in caplog.text] == []


def test_what_was_there_before_is_kept(process_driver: RuntimeDriver) -> None:
    _, deployment = make_deployment(**LONG_TERM)
    key = deployment.agent.key
    secrets = credentials_of(deployment.agent)
    QueueStore(key).ensure(secrets.redis_password)
    MemoryStore(key).ensure(secrets.database_password)
    step_on(deployment, *STEP_NAMES[:-1])
    process_driver.remove_instance(deployment.instance_name)
    failed = carry_out(deployment)
    assert failed.status == DeploymentStatus.FAILED
    assert sorted(made_outside(failed.agent)) == [f"memory {key}", f"queue {key}"]


def test_what_cannot_be_removed_is_named_and_removed_later(
    process_driver: RuntimeDriver, settings: Settings
) -> None:
    caller, deployment = make_deployment(**LONG_TERM)
    key = deployment.agent.key
    redis_here, database_here = settings.AGENT_REDIS_URL, settings.AGENT_DATABASE_URL
    step_on(deployment, *STEP_NAMES[:-1])
    process_driver.remove_instance(deployment.instance_name)
    settings.AGENT_REDIS_URL = f"redis://{NOWHERE}/0"
    settings.AGENT_DATABASE_URL = f"postgresql://nobody@{NOWHERE}/nothing"
    left = carry_out(deployment)
    settings.AGENT_REDIS_URL, settings.AGENT_DATABASE_URL = redis_here, database_here
    assert left.status == DeploymentStatus.ROLLBACK_FAILED
    assert left.leftovers == [
        f"memory schema {MemoryStore(key).schema}",
        f"message queues agent.{key}.*",
    ]
    # The rest is gone all the same.
    assert sorted(made_outside(left.agent)) == [f"memory {key}", f"queue {key}"]
    described = describe_deployment(left)
    assert described["status"] == "rollback_failed"
    assert described["error"]["leftovers"] == left.leftovers
    assert [step for kind, step, _ in events_of(left) if kind == "undo_failed"] == [
        "setup_memory_store",
        "provision_queues",
    ]

    reconciler.retry_failed_rollbacks()
    assert fresh(left).status == DeploymentStatus.ROLLBACK_FAILED  # not yet: it pauses
    type(left).objects.update(next_undo_at=left.completed_at or left.created_at)
    reconciler.retry_failed_rollbacks()
    assert fresh(left).status == DeploymentStatus.ROLLING_BACK
    assert undo(left.pk) is True
    healed = fresh(left)
    assert (healed.status, healed.leftovers) == (DeploymentStatus.FAILED, [])
    assert made_outside(healed.agent) == []
    assert carry_out(retry_deployment(caller=caller, deployment=healed)).status == "running"


@pytest.mark.parametrize("after", range(1, len(STEP_NAMES) + 1))
def test_cancelling_between_steps_undoes_what_was_done(
    process_driver: RuntimeDriver, after: int
) -> None:
    caller, deployment = make_deployment(**LONG_TERM)
    step_on(deployment, *STEP_NAMES[:after])
    cancel_deployment(caller=caller, deployment=deployment)
    cancelled = carry_out(deployment)
    assert cancelled.status == DeploymentStatus.CANCELLED
    assert list(statuses(cancelled).values()) == (
        ["undone"] * after + ["pending"] * (len(STEP_NAMES) - after)
    )
    assert made_outside(cancelled.agent) == []
    assert describe_deployment(cancelled)["error"]["code"] == "cancelled"


def test_a_bug_in_a_step_is_told_without_its_cause(
    process_driver: RuntimeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, deployment = make_deployment()

    def broken(*_: object) -> None:
        raise KeyError("secret cause")

    monkeypatch.setattr(process_driver, "ensure_instance", broken)
    failed = carry_out(deployment)
    assert failed.error_code == "unexpected_error"
    assert "secret cause" not in failed.error_detail
    assert str(failed.pk) in failed.error_detail
    assert_undone(failed, "create_container")


def test_the_agents_redis_user_is_gone_after_the_undo(process_driver: RuntimeDriver) -> None:
    _, deployment = make_deployment()
    done = carry_out(deployment)
    password = credentials_of(done.agent).redis_password
    url = QueueStore(done.agent.key).url("127.0.0.1", password)
    with redis.Redis.from_url(url) as agents_own:
        assert agents_own.ping()
    caller = make_deployment()[0]
    assert caller.organization != done.organization
    type(done).objects.filter(pk=done.pk).update(status="stopping", undo_reason="undeployed")
    assert undo(done.pk) is True
    with pytest.raises(redis.AuthenticationError), redis.Redis.from_url(url) as agents_own:
        agents_own.ping()
