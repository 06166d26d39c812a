"""Programs that use the API, and an agent for them to find."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django.test import Client

from registry.services.agents import create_release, register_agent, reserve_agent
from tests.builders import make_spec

if TYPE_CHECKING:
    from accounts.callers import Caller
    from registry.models import Agent

FACTORY = "/api/platform/agent-factory"
REASON = "Tested by hand on the bench."


def client_of(caller: Caller) -> Client:
    client = Client()
    assert caller.user is not None
    client.force_login(caller.user)
    return client


def send(client: Client, method: str, path: str, body: Any = None, **extra: Any) -> Any:
    data = body if isinstance(body, str | bytes) else json.dumps({} if body is None else body)
    return client.generic(method, path, data, content_type="application/json", **extra)


def post(client: Client, path: str, body: Any = None, **extra: Any) -> Any:
    return send(client, "POST", path, body, **extra)


def make_running(caller: Caller) -> Agent:
    spec = make_spec()
    agent = reserve_agent(caller=caller, spec=spec)
    release = create_release(caller=caller, agent=agent, spec=spec, files={"main.py": "pass\n"})
    register_agent(agent=agent, release=release, endpoint="http://127.0.0.1:9")
    return agent
