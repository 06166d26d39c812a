"""A text cut into passages, so that a long text is found by the part that answers."""

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

_TARGET: Final = 900
_LONGEST: Final = 1_400
_MAX_TITLE: Final = 120
_BREAK: Final = re.compile(r"\n[ \t]*\n\s*")
_SOFT: Final = re.compile(r"(?<=[.!?;:])\s+|\n")


@dataclass(frozen=True, slots=True)
class Passage:
    """The characters ``start`` to ``stop`` of a text."""

    start: int
    stop: int


def title_of(text: str) -> str:
    """Return the first line of ``text`` when it reads like a heading, else nothing."""
    lines = text.lstrip().split("\n", 2)
    first = lines[0].strip().lstrip("#=*- ").strip()
    if len(lines) == 1 or not first or len(first) > _MAX_TITLE:
        return ""
    following = lines[1].strip()
    underlined = following and set(following) <= set("=-*~#^\"'")
    return first if underlined or not following or lines[0].startswith("#") else ""


def split_passages(text: str) -> list[Passage]:
    """Cut ``text`` at blank lines into passages of about 900 characters, 1,400 at most.

    A paragraph that is longer is cut after a sentence or a line, and where there is neither,
    anywhere. The passages cover the text in order and do not overlap.
    """
    edges = [0, *(match.end() for match in _BREAK.finditer(text)), len(text)]
    passages: list[Passage] = []
    start = 0
    for left, right in pairwise(edges):
        if right - start > _LONGEST and left > start:
            passages.append(Passage(start, left))
            start = left
        while right - start > _LONGEST:
            cut = _soft_cut(text, start, right)
            passages.append(Passage(start, cut))
            start = cut
        if right - start >= _TARGET:
            passages.append(Passage(start, right))
            start = right
    if start < len(text):
        passages.append(Passage(start, len(text)))
    return [passage for passage in passages if text[passage.start : passage.stop].strip()]


def _soft_cut(text: str, start: int, right: int) -> int:
    """Return the last good place to cut within reach of the target length."""
    cut = start + _LONGEST
    for match in _SOFT.finditer(text, start + _TARGET // 2, min(right, cut)):
        if match.end() <= start + _LONGEST:
            cut = match.end()
    return cut
