"""Lines of text out of what an instance writes, whatever it writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LONGEST_LINE: Final = 8_000
"""Characters; the rest of a longer line is left out."""


def last_lines(output: bytes, count: int) -> list[str]:
    """Return the last ``count`` lines of ``output``."""
    lines = [text_of(line) for line in output.split(b"\n")]
    if lines and not lines[-1]:
        lines.pop()
    return lines[-count:] if count > 0 else []


def decoded_lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """Yield the lines of a stream that comes in pieces, the last one even if it has no end."""
    rest = b""
    skipping = False
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if not skipping:
                yield text_of(line)
            skipping = False
        if len(rest) > LONGEST_LINE:
            # No more than this is kept of a line that does not end.
            if not skipping:
                yield text_of(rest)
            skipping, rest = True, b""
    if rest and not skipping:
        yield text_of(rest)


def text_of(line: bytes) -> str:
    """Return the line as text: undecodable bytes and null characters replaced, length bounded."""
    text = line.removesuffix(b"\r").decode(errors="replace").replace("\0", "\ufffd")
    return text if len(text) <= LONGEST_LINE else f"{text[:LONGEST_LINE]}…"
