"""What a client sends over a live line never ends it, and what it missed comes in pieces."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest
from channels.db import database_sync_to_async
from channels.testing import WebsocketCommunicator

from ledger import consumers
from ledger.consumers import ProgressConsumer
from ledger.events import publish
from ledger.models import ProgressEvent

if TYPE_CHECKING:
    from config.embedded import EmbeddedServers

pytestmark = pytest.mark.django_db(transaction=True)


class Somebody:
    is_authenticated = True


class Following(ProgressConsumer):
    subject_type = "test"

    def authorise(self, subject_id: uuid.UUID) -> bool:
        del subject_id
        return True

    def snapshot(self, subject_id: uuid.UUID) -> dict[str, Any]:
        return {"subject": str(subject_id)}


def happened(subject: uuid.UUID, count: int) -> None:
    ProgressEvent.objects.bulk_create(
        ProgressEvent(subject_type="test", subject_id=subject, seq=seq, kind="step", payload={})
        for seq in range(1, count + 1)
    )


async def follow(subject: uuid.UUID, query: str = "") -> WebsocketCommunicator:
    line = WebsocketCommunicator(Following.as_asgi(), f"/{query}")
    line.scope["user"] = Somebody()
    line.scope["url_route"] = {"kwargs": {"subject_id": subject}}
    assert (await line.connect(timeout=10))[0]
    return line


async def next_seq(line: WebsocketCommunicator) -> int:
    seq: int = (await line.receive_json_from(timeout=10))["seq"]
    return seq


@pytest.mark.parametrize("after", ["9" * 5000, "9" * 10, "-1", "x", ""])
async def test_an_impossible_number_gets_the_snapshot(after: str) -> None:
    line = await follow(uuid.uuid4(), f"?after={after}")

    assert (await line.receive_json_from(timeout=10))["type"] == "snapshot"
    await line.disconnect()


@pytest.mark.parametrize(
    "frame",
    [
        {"text_data": "[" * 100_000},
        {"text_data": "[" * 999},
        {"text_data": '{"after": ' + "9" * 900 + "}"},
        {"text_data": "not json"},
        {"text_data": '{"after": "1"}'},
        {"bytes_data": b"\xff\x00"},
    ],
)
async def test_a_frame_that_means_nothing_is_ignored(frame: dict[str, Any]) -> None:
    subject = uuid.uuid4()
    await database_sync_to_async(happened)(subject, 1)
    line = await follow(subject)
    await line.receive_json_from(timeout=10)

    await line.send_to(**frame)
    await line.send_json_to({"after": 0})

    assert await next_seq(line) == 1
    await line.disconnect()


async def test_nesting_that_the_decoder_cannot_follow_is_no_message() -> None:
    assert await Following.decode_json("[" * 100_000) is None


async def test_much_that_was_missed_comes_whole_and_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(consumers, "_BATCH", 3)
    subject = uuid.uuid4()
    await database_sync_to_async(happened)(subject, 7)

    line = await follow(subject, "?after=0")

    assert [await next_seq(line) for _ in range(7)] == list(range(1, 8))
    assert await line.receive_nothing()
    await line.disconnect()


async def test_asking_again_and_again_is_answered_only_so_often() -> None:
    subject = uuid.uuid4()
    await database_sync_to_async(happened)(subject, 1)
    line = await follow(subject)
    await line.receive_json_from(timeout=10)

    for _ in range(30):
        await line.send_json_to({"after": 0})

    assert [await next_seq(line) for _ in range(20)] == [1] * 20
    assert await line.receive_nothing()
    await line.disconnect()


async def test_lines_are_opened_at_once_after_a_restart_of_redis(servers: EmbeddedServers) -> None:
    # Several at once, so that several connections are kept.
    before = [await follow(uuid.uuid4()) for _ in range(3)]
    for line in before:
        await line.receive_json_from(timeout=10)
        await line.disconnect()
    # In this thread: the server lives no longer than the thread that started it.
    servers.redis.stop()
    servers.redis.start()

    subject = uuid.uuid4()
    line = await follow(subject)
    assert (await line.receive_json_from(timeout=10))["type"] == "snapshot"
    await database_sync_to_async(publish)("test", subject, "step", {})
    assert await next_seq(line) == 1
    await line.disconnect()
