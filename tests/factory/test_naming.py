"""From a name to an id."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.naming import agent_id_for, free_ids
from registry.spec import AGENT_ID_PATTERN


@pytest.mark.parametrize(
    ("name", "agent_id"),
    [
        ("Customer Context Agent", "WowCustomerContext"),
        ("customer context", "WowCustomerContext"),
        ("Agent", "WowAgent"),
        ("Wow Memory Agent", "WowMemory"),
        ("WowMemory", "WowMemory"),
        ("Wowza Agent", "WowWowza"),
        ("API agent 2", "WowAPIAgent2"),
        ("Müller's Büro-Agent", "WowMullersBuro"),
        ("Straße", "WowStrasse"),
        ("Łódź æther", "WowLodzAether"),
        ("日本語", "WowAgent"),
        ("😀", "WowAgent"),
        ("", "WowAgent"),
        ("{}\"'\n`rm -rf /`", "WowRmRf"),
        ("x" * 200, "WowX" + "x" * 60),
    ],
)
def test_the_id_follows_from_the_name(name: str, agent_id: str) -> None:
    assert agent_id_for(name) == agent_id


@given(st.text(max_size=600))
def test_every_name_leads_to_a_valid_id(name: str) -> None:
    assert re.fullmatch(AGENT_ID_PATTERN, agent_id_for(name))


def test_free_ids_count_on() -> None:
    taken = {"wowone", "wowone2", "wowone4"}

    assert free_ids("WowOne", is_taken=taken.__contains__) == ["WowOne3", "WowOne5", "WowOne6"]
    assert free_ids("WowOne2", is_taken=taken.__contains__) == ["WowOne3", "WowOne5", "WowOne6"]


def test_free_ids_of_the_longest_id_are_valid() -> None:
    for agent_id in free_ids("W" * 64, is_taken=lambda _: False):
        assert re.fullmatch(AGENT_ID_PATTERN, agent_id)
