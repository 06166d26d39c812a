"""Hand announcements to the live channel without making the caller wait.

The channel layer is asynchronous; most of our code is not. A fresh event loop for each message
would also mean a fresh connection, which costs more than most steps do. So each process keeps one
loop in a thread of its own, made when it is first needed and again after a fork.
"""

import asyncio
import os
import threading
from concurrent.futures import Future
from typing import Any

import structlog
from channels.layers import get_channel_layer

log = structlog.get_logger(__name__)

# A layer that hangs must not keep ever more messages in memory.
_SEND_SECONDS = 5

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


def announce(group: str, message: dict[str, Any]) -> Future[None] | None:
    """Send ``message`` to everybody in ``group``; a failure is logged, never raised.

    Nobody needs to wait for what is returned; it is done once the message is sent or given up.
    """
    layer = get_channel_layer()
    if layer is None:
        return None
    sending = asyncio.wait_for(layer.group_send(group, message), _SEND_SECONDS)
    future = asyncio.run_coroutine_threadsafe(sending, _running_loop())
    future.add_done_callback(_log_failure)
    return future


def _running_loop() -> asyncio.AbstractEventLoop:
    global _loop  # noqa: PLW0603 - one loop for the process is the purpose
    with _lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            threading.Thread(target=_loop.run_forever, name="announcer", daemon=True).start()
        return _loop


def _forget_loop() -> None:
    # A fork has the loop but not the thread that ran it, and perhaps a lock that was held.
    global _loop, _lock
    _loop, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_forget_loop)


def _log_failure(future: Future[None]) -> None:
    if not future.cancelled() and (error := future.exception()) is not None:
        # The row is written; whoever listens will fetch it by its number.
        log.warning("progress event not announced", error=str(error) or type(error).__name__)
