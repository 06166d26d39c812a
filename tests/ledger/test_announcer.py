"""Announcements reach who listens, from any thread and after a fork, and never fail the caller."""

from __future__ import annotations

import asyncio
import os
import socket
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from channels.layers import get_channel_layer

from config.embedded_process import wait_until
from ledger.announcer import announce

if TYPE_CHECKING:
    from pytest_django import Settings

    from config.embedded import EmbeddedServers


async def listen(group: str, send: Any) -> dict[str, Any]:
    layer = get_channel_layer()
    channel = await layer.new_channel()
    await layer.group_add(group, channel)
    await asyncio.to_thread(send)
    received: dict[str, Any] = await asyncio.wait_for(layer.receive(channel), 10)
    await layer.group_discard(group, channel)
    return received


async def test_a_message_reaches_the_group() -> None:
    group = f"test.{uuid.uuid4()}"
    message = {"type": "progress.event", "event": {"seq": 1}}

    assert await listen(group, lambda: announce(group, message)) == message


async def test_a_forked_process_announces_too() -> None:
    group = f"test.{uuid.uuid4()}"
    message = {"type": "progress.event", "event": {"seq": 2}}
    announce(group, message)  # the parent's loop is there before the fork

    def fork_and_announce() -> None:
        child = os.fork()
        if child == 0:
            try:
                sending = announce(group, message)
                assert sending is not None
                sending.result(timeout=10)
            finally:
                os._exit(0)
        os.waitpid(child, 0)

    assert await listen(group, fork_and_announce) == message


async def test_the_first_message_after_a_restart_of_redis_arrives(
    servers: EmbeddedServers,
) -> None:
    group = f"test.{uuid.uuid4()}"
    message = {"type": "progress.event", "event": {"seq": 3}}

    # Several at once, so that several connections are kept.
    for sending in [announce(group, message) for _ in range(3)]:
        assert sending is not None
        sending.result(timeout=10)
    # In this thread: the server lives no longer than the thread that started it.
    servers.redis.stop()
    servers.redis.start()

    assert await listen(group, lambda: announce(group, message)) == message


def test_without_redis_nothing_is_raised(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.core.RedisChannelLayer",
            "CONFIG": {"hosts": ["redis://127.0.0.1:1/0"]},
        }
    }
    sending = announce("test.nobody", {"type": "progress.event"})

    assert sending is not None
    assert sending.exception(timeout=30) is not None
    assert wait_until(lambda: "progress event not announced" in caplog.text, seconds=10)


def test_a_layer_that_hangs_does_not_keep_the_message_forever(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ledger.announcer._SEND_SECONDS", 0.2)
    # A server that takes the connection and never says a word.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings.CHANNEL_LAYERS = {
            "default": {
                "BACKEND": "channels_redis.core.RedisChannelLayer",
                "CONFIG": {"hosts": [f"redis://127.0.0.1:{silent.getsockname()[1]}/0"]},
            }
        }
        sending = announce("test.nobody", {"type": "progress.event"})

        assert sending is not None
        assert isinstance(sending.exception(timeout=10), TimeoutError)


def test_without_a_channel_layer_nothing_is_sent(settings: Settings) -> None:
    settings.CHANNEL_LAYERS = {}

    announce("test.nobody", {"type": "progress.event"})
