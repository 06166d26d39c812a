"""Following a deployment live."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest
from channels.db import database_sync_to_async
from channels.routing import URLRouter
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import AnonymousUser

from accounts.models import Membership, Organization
from ledger import events
from ledger.transitions import transition
from provisioning.enums import DeploymentStatus, StepStatus
from provisioning.progress import describe_deployment
from provisioning.routing import websocket_urlpatterns
from tests.builders import make_caller
from tests.provisioning.saga import fresh, make_deployment

if TYPE_CHECKING:
    from provisioning.models import Deployment

pytestmark = pytest.mark.django_db(transaction=True)
in_thread = database_sync_to_async


def follow(user: object, deployment_id: object, query: str = "") -> WebsocketCommunicator:
    path = f"/ws/factory/deployment/{deployment_id}{query}"
    line = WebsocketCommunicator(URLRouter(websocket_urlpatterns), path)
    line.scope["user"] = user
    return line


async def closed_with(line: WebsocketCommunicator) -> int:
    connected, _ = await line.connect(timeout=10)
    assert connected
    message = await line.receive_output(10)
    assert message["type"] == "websocket.close"
    return int(message["code"])


def begin(deployment: Deployment) -> None:
    step = deployment.steps.get(name="build_image")
    transition(step, to=StepStatus.IN_PROGRESS)
    transition(deployment, to=DeploymentStatus.PROVISIONING)


async def receive(line: WebsocketCommunicator) -> Any:
    return await line.receive_json_from(10)


async def test_nobody_unknown_may_follow() -> None:
    _, deployment = await in_thread(make_deployment)()
    assert await closed_with(follow(AnonymousUser(), deployment.pk)) == 4401


async def test_another_organisation_finds_nothing() -> None:
    _, deployment = await in_thread(make_deployment)()
    stranger = await in_thread(make_caller)()
    assert await closed_with(follow(stranger.user, deployment.pk)) == 4404
    assert await closed_with(follow(stranger.user, uuid.uuid4())) == 4404


async def test_a_closed_organisation_shows_nothing() -> None:
    caller, deployment = await in_thread(make_deployment)()
    await in_thread(Organization.objects.update)(is_active=False)
    assert await closed_with(follow(caller.user, deployment.pk)) == 4404


async def test_who_has_no_role_that_may_look_sees_nothing() -> None:
    caller, deployment = await in_thread(make_deployment)()
    await in_thread(Membership.objects.update)(role="retired")
    assert await closed_with(follow(caller.user, deployment.pk)) == 4404


async def test_a_viewer_gets_the_state_and_then_every_change() -> None:
    caller, deployment = await in_thread(make_deployment)()
    viewer = await in_thread(make_caller)("viewer", caller.organization)
    line = follow(viewer.user, deployment.pk)
    assert (await line.connect(timeout=10))[0]
    snapshot = await receive(line)
    told = await in_thread(lambda: describe_deployment(fresh(deployment)))()
    assert snapshot == {"type": "snapshot", "seq": 0, **told}
    await in_thread(begin)(deployment)
    first, second = await receive(line), await receive(line)
    assert (first["seq"], first["kind"]) == (1, "status")
    assert first["payload"] == {
        "from": "pending",
        "to": "in_progress",
        "reason": "",
        "step": "build_image",
    }
    assert second["payload"] == {"from": "pending", "to": "provisioning", "reason": ""}
    await line.disconnect()


async def test_who_comes_back_gets_what_was_missed() -> None:
    caller, deployment = await in_thread(make_deployment)()
    await in_thread(begin)(deployment)
    line = follow(caller.user, deployment.pk, "?after=1")
    assert (await line.connect(timeout=10))[0]
    missed = await receive(line)
    assert (missed["type"], missed["seq"], missed["payload"]["to"]) == ("event", 2, "provisioning")
    await line.send_json_to({"after": 0})
    assert [(await receive(line))["seq"] for _ in range(2)] == [1, 2]
    assert await line.receive_nothing()
    await line.disconnect()


async def test_a_gap_is_filled_from_the_rows() -> None:
    caller, deployment = await in_thread(make_deployment)()
    line = follow(caller.user, deployment.pk)
    assert (await line.connect(timeout=10))[0]
    await receive(line)

    def publish_two_announce_one() -> None:
        from ledger.models import ProgressEvent

        ProgressEvent.objects.create(
            subject_type="deployment", subject_id=deployment.pk, seq=1, kind="undoing", payload={}
        )
        events.publish("deployment", deployment.pk, "undoing", {"step": "build_image"})

    await in_thread(publish_two_announce_one)()
    assert [(await receive(line))["seq"] for _ in range(2)] == [1, 2]
    await line.disconnect()
