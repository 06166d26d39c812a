"""What is typed, written into pages: as text, and nothing else."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings

from ledger.errors import DomainError
from templates_lib.prose import escape_markdown, inline_code, json_block, shell_json
from templates_lib.rendering import (
    render_project,
)
from tests.builders import make_spec
from tests.templates_lib.hostile import text


def test_prose_is_escaped_as_little_as_it_can_be() -> None:
    assert escape_markdown("Stores history, preferences: all (most) of it. 1.5!") == (
        "Stores history, preferences: all (most) of it. 1.5!"
    )
    assert escape_markdown("# <b> `x` [a](b) | *c*") == (
        "\\# &lt;b&gt; \\`x\\` \\[a\\](b) \\| \\*c\\*"
    )
    assert escape_markdown("1. one") == "1\\. one"
    assert escape_markdown("- one\n\n- two") == "\\- one - two"
    assert escape_markdown("https://e.example www.e.example a@b") == (
        "https\\://e.example www\\.e.example a\\@b"
    )
    assert inline_code("a`b") == "``a`b``"
    assert inline_code("`") == "`` ` ``"
    assert inline_code("") == "`  `"
    assert json_block({"a": "```"}).startswith("````json\n")
    assert "spec.json" in json_block({"a": "x" * 30_000})
    assert shell_json({"a": "it's `id`"}) == "'{\"a\": \"it'\\''s \\u0060id\\u0060\"}'"
    assert shell_json("x" * 30_000) == "@input.json"


@settings(deadline=None)
@given(text)
def test_shell_json_is_what_a_shell_passes_on(words: str) -> None:
    import shlex

    assert [json.loads(part) for part in shlex.split(shell_json({"a": words}))] == [{"a": words}]


@pytest.mark.parametrize(
    "template",
    [
        "{{ spec.__class__.__mro__ }}",
        "{{ ''.__class__ }}",
        "{{ spec.tags.append(1) }}",
        "{{ range(10) }}",
        "{{ spec.name | upper }}",
        "{% include 'skeleton/missing' %}",
        "{% extends 'base/../rendering.py' %}",
        "{{ 1 / 0 }}",
        "{{ spec.name | identifier }}",
        "{{ 'x' * 1000000000 }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ 10 ** 1000000 }}",
        "{{ 'x'.ljust(1000000000) }}",
        "{{ '{:1000000000}'.format(1) }}",
        "{% for a in spec.goal %}{{ spec.goal }}{% endfor %}",
    ],
)
def test_a_page_can_not_reach_out(template: str) -> None:
    with pytest.raises(DomainError) as caught:
        render_project(make_spec(goal="x" * 2000), skeleton={"README.md.jinja": template})
    assert caught.value.code == "rendering_failed"
    assert "README.md.jinja:1" in caught.value.message
