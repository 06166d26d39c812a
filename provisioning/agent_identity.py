"""Who is at the other end: an agent proves itself before it is sent anything.

An address alone says nothing: after a restart of the engine another agent's container may have it.
So every new connection begins with a question that only the agent called can answer: a random
challenge, returned as an HMAC under the token that it was given. The token itself stays here, and
the call follows on the connection that was proved, which nobody else can take over.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import httpcore

from provisioning.deadlines import DeadlineBackend

_PATH: Final = "/identity"
_CHALLENGE_HEADER: Final = "X-Agent-Challenge"
_MESSAGE: Final = b"agent-identity:"
"""Stands before the challenge, so that a proof is never the HMAC of anything else."""
_CHALLENGE_BYTES: Final = 32
_MAX_ANSWER_BYTES: Final = 4096
_OK: Final = 200
_STARTING: Final = 503


class NotTheAgent(Exception):
    """What answers at the address is not the agent, or can't prove it yet. Holds no credentials."""


@dataclass(frozen=True)
class Peer:
    """The agent that is called, and by when."""

    address: str
    """``http://host:port``."""
    token: str = field(repr=False)
    deadline: float
    """``time.monotonic()`` by which it must have proved itself and answered."""

    @property
    def label(self) -> str:
        """Stands for the host in a connection pool: connections are shared by equals only."""
        return hashlib.sha256(f"{self.address}\0{self.token}".encode()).hexdigest()[:40]


current_peer: ContextVar[Peer] = ContextVar("current_peer")
"""The peer of the call that the present thread makes."""


def proof_of(token: str, challenge: str) -> str:
    """Return what the agent with this token answers to the challenge."""
    return hmac.new(token.encode(), _MESSAGE + challenge.encode(), hashlib.sha256).hexdigest()


class ProvingBackend(httpcore.NetworkBackend):
    """Connects to ``current_peer``, and hands out a connection once the agent proved itself.

    Whatever is read and written on it has to be done by the deadline of who is ``current_peer``
    then.
    """

    def __init__(self) -> None:
        self._network = DeadlineBackend(lambda: current_peer.get().deadline)

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect; ``host`` is the peer's label.

        Raises:
            NotTheAgent: somebody else is there.
            httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError: see there.

        """
        peer = current_peer.get()
        if host != peer.label:
            raise NotTheAgent("The connection was asked for another agent.")
        place = urlsplit(peer.address)
        stream = self._network.connect_tcp(
            place.hostname or "", place.port or 80, timeout, local_address, socket_options
        )
        try:
            _prove(stream, peer)
        except BaseException:
            stream.close()
            raise
        return stream


def _prove(stream: httpcore.NetworkStream, peer: Peer) -> None:
    challenge = secrets.token_hex(_CHALLENGE_BYTES)
    status, raw = _ask(stream, challenge)
    if status == _STARTING:
        raise NotTheAgent("The agent is still starting.")
    try:
        said = json.loads(raw)["proof"] if status == _OK else None
    except (ValueError, RecursionError, LookupError, TypeError):
        said = None
    if not (
        isinstance(said, str)
        and said.isascii()
        and hmac.compare_digest(said, proof_of(peer.token, challenge))
    ):
        raise NotTheAgent("Something else answers at the agent's address.")


def _ask(stream: httpcore.NetworkStream, challenge: str) -> tuple[int, bytes]:
    # Leaves the stream as it found it, ready for the next request.
    connection = httpcore.HTTP11Connection(httpcore.Origin(b"http", b"agent", 80), stream)
    response = connection.handle_request(
        httpcore.Request(
            "GET",
            f"http://agent{_PATH}",
            headers={"Host": "agent", _CHALLENGE_HEADER: challenge},
        )
    )
    raw = b""
    try:
        for part in response.iter_stream():
            raw += part
            if len(raw) > _MAX_ANSWER_BYTES:
                raise NotTheAgent("What answers at the agent's address does not prove itself.")
    finally:
        response.close()
    if not connection.is_idle():
        raise NotTheAgent("What answers at the agent's address does not keep the connection.")
    return response.status, raw
