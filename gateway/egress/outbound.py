"""What one call of an agent to the outside becomes: whose it is, where it goes, with which secret.

All of this blocks (database, name look-up) and runs in a thread.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

from django.db import OperationalError
from pydantic import JsonValue

from gateway.errors import ModelNotConnected
from ledger.errors import Conflict, DomainError, InvalidInput, NotFound, Unavailable
from registry.addresses import MAX_URL_LENGTH, Target, target_of
from registry.models import Agent
from registry.services.agents import agent_of_egress_token
from registry.services.secrets import reveal_for_use
from registry.spec import AgentSpec, HttpImplementation

PREFIX: Final = "/egress"
EMBEDDINGS: Final = "embeddings-api"
CHAT: Final = "chat-model"

_MODEL_ROUTES: Final[Mapping[str, tuple[str, str]]] = {
    "/v1/embeddings": (EMBEDDINGS, "embeddings"),
    "/v1/chat/completions": (CHAT, "chat/completions"),
}
_HTTP_ROUTE: Final = "/http/"
_MARGIN_SECONDS: Final = 2.0
# Set by the connection itself, or by the platform.
_OWN_HEADERS: Final = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "content-type", "te", "upgrade"}
)


class NotSignedIn(DomainError):
    """The token is missing or is no agent's."""

    status = 401


@dataclass(frozen=True, kw_only=True)
class Outbound:
    """One request to a service outside, ready to be sent."""

    agent: str
    """For the log."""
    route: str
    method: str
    target: Target
    headers: Mapping[str, str] = field(repr=False)
    content: bytes | None = field(repr=False)
    secret: str | None = field(repr=False)
    """Goes to the service alone; taken out of whatever it answers."""
    timeout_seconds: float
    wraps: bool
    """Whether the agent gets ``{"status", "body"}``; else the service's own body."""


def sign_in(token: str) -> Agent:
    """Return the agent with this token.

    Raises:
        NotSignedIn: no agent has it.
        Unavailable: the database does not answer.

    """
    try:
        agent = agent_of_egress_token(token)
    except OperationalError:
        raise _database_away() from None
    if agent is None:
        raise NotSignedIn("unauthorized", "Send the header Authorization: Bearer <token>.")
    return agent


def prepare(path: str, agent: Agent, body: Mapping[str, Any]) -> Outbound:
    """Return the request that this agent may make at ``path``.

    Raises:
        NotFound: no such route, or no such capability.
        ModelNotConnected: ``no_model_connected``.
        InvalidInput: the body, or the address that an operator gave, can't be used.
        UpstreamFailed: the service's host is not known.
        Unavailable: the database does not answer.

    """
    try:
        spec = _spec_of(agent)
        route = path.removeprefix(PREFIX)
        if route in _MODEL_ROUTES:
            return _to_model(agent, spec, route, body)
        if route.startswith(_HTTP_ROUTE):
            return _to_service(agent, spec, route.removeprefix(_HTTP_ROUTE), body)
    except OperationalError:
        raise _database_away() from None
    raise NotFound(
        "not_found",
        f"Use {PREFIX}/v1/embeddings, {PREFIX}/v1/chat/completions or {PREFIX}/http/<capability>.",
    )


def _database_away() -> Unavailable:
    return Unavailable("unavailable", "The platform's database does not answer. Try again soon.")


def _spec_of(agent: Agent) -> AgentSpec:
    # While it is being deployed it is not registered yet, and the newest release is the one.
    release = agent.current_release or agent.releases.order_by("-number").first()
    if release is None:
        raise Conflict("agent_not_running", "This agent has no release. Deploy it first.")
    return release.agent_spec()


def _to_model(agent: Agent, spec: AgentSpec, route: str, body: Mapping[str, Any]) -> Outbound:
    tool, path = _MODEL_ROUTES[route]
    binding = next((item for item in spec.tools if item.tool == tool), None)
    base_url = binding.parameters.get("base_url") if binding else None
    model = binding.parameters.get("model") if binding else None
    if binding is None or not isinstance(base_url, str) or not isinstance(model, str):
        raise ModelNotConnected(
            "no_model_connected",
            f"Connect the tool {tool} with its address and model to this agent, then deploy it.",
        )
    if body.get("stream"):
        raise InvalidInput.of_field("stream", "invalid", "Streaming is not possible: leave it out.")
    # The operator's choice, whatever the agent asks for.
    sent: dict[str, Any] = {**body, "model": model}
    dimensions: JsonValue = binding.parameters.get("dimensions")
    if tool == EMBEDDINGS and dimensions is not None:
        sent["dimensions"] = dimensions
    secret = _secret(agent, binding.secret)
    return Outbound(
        agent=str(agent.pk),
        route=route,
        method="POST",
        target=target_of(f"{base_url.rstrip('/')}/{path}"),
        headers=_headers({}, secret, has_body=True),
        content=_encode(sent),
        secret=secret,
        timeout_seconds=spec.policies.timeouts.operation_seconds + _MARGIN_SECONDS,
        wraps=False,
    )


def _to_service(agent: Agent, spec: AgentSpec, name: str, body: Mapping[str, Any]) -> Outbound:
    capability = spec.capability(name)
    how = capability.implementation if capability else None
    if capability is None or not isinstance(how, HttpImplementation):
        raise NotFound(
            "capability_not_found", "This agent has no capability of that name done over HTTP."
        )
    payload = body.get("input")
    if not isinstance(payload, Mapping) or set(body) != {"input"}:
        raise InvalidInput.of_field("input", "invalid", 'Send {"input": {…}}.')
    url, content = str(how.url), None
    if how.method == "GET":
        url = _with_query(url, payload)
    else:
        content = _encode(payload)
    secret = _secret(agent, how.secret)
    return Outbound(
        agent=str(agent.pk),
        route=f"{_HTTP_ROUTE}{name}",
        method=how.method,
        target=target_of(url),
        headers=_headers(how.headers, secret, has_body=content is not None),
        content=content,
        secret=secret,
        timeout_seconds=capability.timeout_seconds + _MARGIN_SECONDS,
        wraps=True,
    )


def _secret(agent: Agent, name: str | None) -> str | None:
    if name is None:
        return None
    secret = reveal_for_use(organization=agent.organization, name=name)
    if not secret.isascii() or not secret.isprintable():
        raise Conflict(
            "secret_unusable",
            f"The secret {name} holds characters that can't be sent as a key. Store it again.",
        )
    return secret


def _headers(given: Mapping[str, str], secret: str | None, *, has_body: bool) -> dict[str, str]:
    headers = {name: value for name, value in given.items() if name.lower() not in _OWN_HEADERS}
    if secret is not None:
        headers = {key: value for key, value in headers.items() if key.lower() != "authorization"}
        headers["Authorization"] = f"Bearer {secret}"
    if not any(name.lower() == "accept" for name in headers):
        headers["Accept"] = "application/json"
    if has_body:
        headers["Content-Type"] = "application/json"
    return headers


def _with_query(url: str, payload: Mapping[str, Any]) -> str:
    parts = urlsplit(url)
    added = urlencode(
        [(key, item) for key, value in payload.items() for item in _query_values(value)],
        quote_via=quote,
    )
    query = "&".join(text for text in (parts.query, added) if text)
    whole = urlunsplit((parts.scheme, parts.netloc, parts.path, query, ""))
    if len(whole) > MAX_URL_LENGTH:
        raise InvalidInput.of_field(
            "input", "too_long", "The input is too long for a query. Send less, or use POST."
        )
    return whole


def _query_values(value: Any) -> list[str]:
    """Return a field's values for a query; a list of plain values is repeated, as forms do it."""
    if value is None:
        return []
    if isinstance(value, list) and not any(isinstance(item, list | dict) for item in value):
        return [text for item in value for text in _query_values(item)]
    return [value if isinstance(value, str) else _encode(value).decode()]


def _encode(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
