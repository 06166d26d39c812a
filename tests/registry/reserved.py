"""Agents that were reserved, and registered ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry.models import Agent, Release
from registry.services.agents import (
    create_release,
    register_agent,
    reserve_agent,
)
from tests.builders import make_spec

if TYPE_CHECKING:
    from accounts.callers import Caller

FILES = {"main.py": "print('hello')\n"}
ENDPOINT = "http://127.0.0.1:9000"


def make_agent(caller: Caller, **changes: object) -> Agent:
    return reserve_agent(caller=caller, spec=make_spec(**changes))


def make_registered(caller: Caller) -> tuple[Agent, Release]:
    spec = make_spec()
    agent = reserve_agent(caller=caller, spec=spec)
    release = create_release(caller=caller, agent=agent, spec=spec, files=FILES)
    register_agent(agent=agent, release=release, endpoint=ENDPOINT)
    return agent, release
