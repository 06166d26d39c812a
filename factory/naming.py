"""From the name that a person gives to the id that programs use."""

import re
import unicodedata
from collections.abc import Callable
from itertools import count, islice
from typing import Final

PREFIX: Final = "Wow"
MAX_LENGTH: Final = 64
_FALLBACK: Final = "Agent"
# Letters that Unicode does not take apart into a Latin letter and a mark.
_LATIN: Final = str.maketrans(
    {"ß": "ss", "æ": "ae", "Æ": "Ae", "ø": "o", "Ø": "O", "œ": "oe", "Œ": "Oe", "đ": "d",
     "Đ": "D", "ł": "l", "Ł": "L", "þ": "th", "Þ": "Th", "ð": "d", "Ð": "D", "\u0131": "i"}
)  # fmt: skip
_WORD: Final = re.compile(r"[A-Za-z0-9]+")
_APOSTROPHES: Final = re.compile("['\u2019]")


def agent_id_for(name: str) -> str:
    """Return the id that ``name`` leads to, as in "Customer Context Agent" → WowCustomerContext.

    Always a valid id: letters are transliterated to ASCII, what can't be is left out, and a name
    of which nothing remains becomes WowAgent. A trailing "Agent" says nothing and is dropped.
    """
    latin = unicodedata.normalize("NFKD", name[:500].translate(_LATIN))
    words = _WORD.findall(_APOSTROPHES.sub("", latin.encode("ascii", "ignore").decode()))
    if words and words[0].lower() == PREFIX.lower():
        words = words[1:]
    if len(words) > 1 and words[-1].lower() == "agent":
        words = words[:-1]
    body = "".join(word[0].upper() + word[1:] for word in words) or _FALLBACK
    if re.match(r"Wow[A-Z0-9]", body):
        return body[:MAX_LENGTH]
    return f"{PREFIX}{body}"[:MAX_LENGTH]


def free_ids(agent_id: str, *, is_taken: Callable[[str], bool], wanted: int = 3) -> list[str]:
    """Return ids like ``agent_id`` that are not taken, by adding the next numbers."""
    stem = agent_id.rstrip("0123456789") or agent_id
    candidates = (f"{stem[: MAX_LENGTH - len(str(n))]}{n}" for n in count(2))
    return list(islice((c for c in candidates if not is_taken(c.lower())), wanted))
