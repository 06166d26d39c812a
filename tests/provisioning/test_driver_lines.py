"""Lines of output, whatever was written; and the environment of an instance."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioning.drivers.base import PermanentDriverError
from provisioning.drivers.environment import merged_environment
from provisioning.drivers.lines import LONGEST_LINE, decoded_lines, last_lines, text_of


@pytest.mark.parametrize(
    ("output", "count", "lines"),
    [
        (b"", 5, []),
        (b"a", 5, ["a"]),
        (b"a\n", 5, ["a"]),
        (b"a\n\nb\n", 5, ["a", "", "b"]),
        (b"a\r\nb", 1, ["b"]),
        (b"a\nb\n", 0, []),
        (b"\xff\0", 1, ["\ufffd\ufffd"]),
    ],
)
def test_the_last_lines(output: bytes, count: int, lines: list[str]) -> None:
    assert last_lines(output, count) == lines


def test_a_long_line_is_cut() -> None:
    assert text_of(b"x" * (LONGEST_LINE + 1)) == "x" * LONGEST_LINE + "…"
    assert text_of(b"x" * LONGEST_LINE) == "x" * LONGEST_LINE


def test_a_line_without_end_costs_no_memory() -> None:
    lines = list(decoded_lines([b"y" * 5000] * 10 + [b"\nnext"]))
    assert lines == ["y" * LONGEST_LINE + "…", "next"]


def test_a_long_line_at_the_end_is_told_once() -> None:
    assert len(list(decoded_lines([b"z" * 20_000, b"z"]))) == 1


@given(st.lists(st.binary(max_size=40)))
def test_however_it_is_cut_the_lines_are_the_same(chunks: list[bytes]) -> None:
    assert list(decoded_lines(chunks)) == list(decoded_lines([b"".join(chunks)]))


def test_the_platforms_variables_stand_over_the_releases() -> None:
    assert merged_environment({"A": "1", "B": "x=y"}, {"AGENT_PORT": "1"}) == {
        "A": "1",
        "B": "x=y",
        "AGENT_PORT": "1",
    }


@pytest.mark.parametrize("name", ["PATH", "path", "AGENT_MODE", "LD_PRELOAD", "PYTHONHOME"])
def test_the_platforms_names_are_refused(name: str) -> None:
    with pytest.raises(PermanentDriverError, match="is set by the platform"):
        merged_environment({name: "x"}, {})
