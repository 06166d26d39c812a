"""Generated documentation, written in a small part of Markdown, as safe HTML.

Known are headings, lists, fenced code, tables, paragraphs and `code`; everything else is text.
All of it is escaped first, so what an operator typed can't become markup.
"""

import re
from collections.abc import Callable, Iterator
from typing import Final

from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

_HEADING: Final = re.compile(r"^(#{1,4})\s+(.*)$")
_BULLET: Final = re.compile(r"^\s*[-*]\s+(.*)$")
_RULE: Final = re.compile(r"^\|?[\s:|-]+\|?$")
_CODE: Final = re.compile(r"`([^`]+)`")
_CODE_BLOCK: Final = '<pre class="code-block" tabindex="0" role="group" aria-label="Code">'
_TABLE: Final = (
    '<div class="table-wrap" tabindex="0" role="group" aria-label="Table"><table class="table">'
)
_STRONG: Final = re.compile(r"\*\*([^*]+)\*\*")


def to_html(text: str) -> SafeString:
    """Return ``text`` as HTML; headings begin at level 3, below those of the page."""
    return mark_safe("\n".join(_blocks(text.splitlines())))  # noqa: S308 - every part is escaped below


def _inline(text: str) -> str:
    return _STRONG.sub(r"<strong>\1</strong>", _CODE.sub(r"<code>\1</code>", str(escape(text))))


def _blocks(lines: list[str]) -> Iterator[str]:
    place = 0
    while place < len(lines):
        line = lines[place]
        if line.startswith("```"):
            end = next(
                (n for n in range(place + 1, len(lines)) if lines[n].startswith("```")), len(lines)
            )
            code = escape("\n".join(lines[place + 1 : end]))
            yield f"{_CODE_BLOCK}{code}</pre>"
            place = end + 1
        elif heading := _HEADING.match(line):
            level = min(len(heading[1]) + 2, 5)
            yield f"<h{level}>{_inline(heading[2])}</h{level}>"
            place += 1
        elif _BULLET.match(line):
            end = _while(lines, place, lambda text: bool(_BULLET.match(text)))
            items = "".join(
                f"<li>{_inline(found[1])}</li>"
                for text in lines[place:end]
                if (found := _BULLET.match(text))
            )
            yield f"<ul>{items}</ul>"
            place = end
        elif line.startswith("|"):
            end = _while(lines, place, lambda text: text.startswith("|"))
            yield _table(lines[place:end])
            place = end
        elif not line.strip():
            place += 1
        else:
            end = max(_while(lines, place, _is_plain), place + 1)
            yield f"<p>{_inline(' '.join(part.strip() for part in lines[place:end]))}</p>"
            place = end


def _is_plain(text: str) -> bool:
    return bool(text.strip()) and not (
        text.startswith(("```", "|")) or _HEADING.match(text) or _BULLET.match(text)
    )


def _while(lines: list[str], place: int, holds: Callable[[str], bool]) -> int:
    while place < len(lines) and holds(lines[place]):
        place += 1
    return place


def _table(lines: list[str]) -> str:
    rows = [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in lines
        if not _RULE.match(line)
    ]
    head, *body = rows or [[]]
    cells = "".join(f"<th>{_inline(cell)}</th>" for cell in head)
    lines_of_cells = ("".join(f"<td>{_inline(cell)}</td>" for cell in row) for row in body)
    inside = "".join(f"<tr>{line}</tr>" for line in lines_of_cells)
    return f"{_TABLE}<thead><tr>{cells}</tr></thead><tbody>{inside}</tbody></table></div>"
