"""The live side of progress: snapshot, then numbered deltas.

A client that connects is authorised on the object, joins its group, gets a snapshot and then each
event with its ``seq``. With ``?after=seq`` it gets the events that it missed instead of a snapshot.
"""

import time
from collections import deque
from typing import Any, ClassVar, Final
from urllib.parse import parse_qs
from uuid import UUID

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer

from ledger import events

CLOSE_UNAUTHENTICATED = 4401
CLOSE_NOT_FOUND = 4404
_MAX_SEQ: Final = 2_147_483_647
_MAX_FRAME: Final = 1000
"""Characters of a client's message; the longest that means something has a few dozen."""
_BATCH: Final = 500
_CATCH_UPS: Final = 20
"""How often a client may ask for what it missed in ``_CATCH_UP_SECONDS``."""
_CATCH_UP_SECONDS: Final = 10


class ProgressConsumer(AsyncJsonWebsocketConsumer):  # type: ignore[misc]  # channels ships no types
    """Base of the consumers that follow one piece of work.

    A subclass names its ``subject_type`` and says who may look (``authorise``) and how the work
    stands now (``snapshot``). Both run in a thread with database access.
    """

    subject_type: ClassVar[str]

    def authorise(self, subject_id: UUID) -> bool:
        """Whether ``self.scope["user"]`` may see this subject."""
        raise NotImplementedError

    def snapshot(self, subject_id: UUID) -> dict[str, Any]:
        """Return the subject as the page shows it now."""
        raise NotImplementedError

    async def connect(self) -> None:
        """Authorise, join, then send the snapshot or what was missed."""
        user = self.scope.get("user")
        await self.accept()
        if user is None or not user.is_authenticated:
            await self.close(CLOSE_UNAUTHENTICATED)
            return
        self.subject_id: UUID = self.scope["url_route"]["kwargs"]["subject_id"]
        if not await database_sync_to_async(self.authorise)(self.subject_id):
            await self.close(CLOSE_NOT_FOUND)
            return
        self.last_seq = 0
        self._asked: deque[float] = deque(maxlen=_CATCH_UPS)
        # Joined before reading: what happens meanwhile comes again as a delta, never not at all.
        await self.channel_layer.group_add(
            events.group_name(self.subject_type, self.subject_id), self.channel_name
        )
        after = self._requested_seq()
        if after is None:
            await self.send_json(await database_sync_to_async(self._read_snapshot)())
        else:
            self.last_seq = after
            await self._send_missed()

    async def disconnect(self, code: int) -> None:
        """Leave the group."""
        if hasattr(self, "subject_id"):
            await self.channel_layer.group_discard(
                events.group_name(self.subject_type, self.subject_id), self.channel_name
            )
        await super().disconnect(code)

    async def receive(
        self, text_data: str | None = None, bytes_data: bytes | None = None, **kwargs: Any
    ) -> None:
        """Read a client's message, unless it is none: binary, empty or too long."""
        del bytes_data
        if text_data and len(text_data) <= _MAX_FRAME:
            await super().receive(text_data=text_data, **kwargs)

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Answer ``{"after": seq}`` with the events since then; ignore anything else.

        Asking too often is ignored too: a client that still misses something will see so at the
        next event, and ask again.
        """
        after = content.get("after") if isinstance(content, dict) else None
        if isinstance(after, int) and 0 <= after <= _MAX_SEQ and self._may_ask():
            self.last_seq = after
            await self._send_missed()

    @classmethod
    async def decode_json(cls, text_data: str) -> Any:
        """Read a client's message; what is not JSON is no message."""
        try:
            return await super().decode_json(text_data)
        except (ValueError, RecursionError):
            return None

    async def progress_event(self, message: dict[str, Any]) -> None:
        """Pass one announced event on, unless the client has it already."""
        event = message["event"]
        if not hasattr(self, "last_seq") or event["seq"] <= self.last_seq:
            return
        if event["seq"] > self.last_seq + 1:
            await self._send_missed()
            return
        self.last_seq = event["seq"]
        await self.send_json({"type": "event", **event})

    async def _send_missed(self) -> None:
        more = True
        while more:
            batch = await database_sync_to_async(self._read_missed)()
            for event in batch:
                self.last_seq = event["seq"]
                await self.send_json({"type": "event", **event})
            more = len(batch) == _BATCH

    def _may_ask(self) -> bool:
        if not hasattr(self, "last_seq"):
            return False
        now = time.monotonic()
        if len(self._asked) == _CATCH_UPS and now - self._asked[0] < _CATCH_UP_SECONDS:
            return False
        self._asked.append(now)
        return True

    def _read_snapshot(self) -> dict[str, Any]:
        # The number is read first: an event in between is then sent once more, never left out.
        self.last_seq = events.last_seq(self.subject_type, self.subject_id)
        return {"type": "snapshot", "seq": self.last_seq, **self.snapshot(self.subject_id)}

    def _read_missed(self) -> list[dict[str, Any]]:
        rows = events.events_after(self.subject_type, self.subject_id, self.last_seq)
        return [row.as_message() for row in rows[:_BATCH]]

    def _requested_seq(self) -> int | None:
        text = parse_qs(self.scope["query_string"].decode("latin-1")).get("after", [""])[0]
        # The length first: numbers of thousands of digits are refused by an error.
        if not (text.isascii() and text.isdigit() and len(text) <= len(str(_MAX_SEQ))):
            return None
        return int(text) if int(text) <= _MAX_SEQ else None
