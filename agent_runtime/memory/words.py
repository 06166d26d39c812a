"""A text's words for searching without PostgreSQL: lower case, English endings taken off.

Deliberately simple: the same word in its common forms becomes the same text, and the words that
say nothing become empty, so that positions still count them.
"""

import re
from typing import Final

_WORD: Final = re.compile(r"[^\W_]+(?:'[^\W_]+)?", re.UNICODE)
_SAY_NOTHING: Final = frozenset(
    re.findall(
        r"\w+",
        """a about above after again against all am an and any are as at be because been before
        being below between both but by can could did do does doing down during each few for
        from further had has have having he her here hers him his how i if in into is it its
        just me more most my no nor not now of off on once only or other our out over own same
        she should so some such than that the their them then there these they this those
        through to too under until up very was we were what when where which while who whom why
        will with would you your""",
    )
)
_ENDINGS: Final = (
    ("ational", "ate"), ("ization", "ize"), ("fulness", "ful"), ("iveness", "ive"),
    ("ements", ""), ("ement", ""), ("ations", "ate"), ("ation", "ate"), ("ments", ""),
    ("ment", ""), ("ingly", ""), ("edly", ""), ("ness", ""), ("ings", ""), ("ing", ""),
    ("ies", "y"), ("ied", "y"), ("sses", "ss"), ("ers", ""), ("ed", ""), ("er", ""), ("ly", ""),
    ("es", "e"), ("s", ""), ("e", ""),
)  # fmt: skip
_SHORTEST_STEM: Final = 3


def words_of(text: str) -> list[str]:
    """Return the stems of ``text`` in order; a word that says nothing is an empty text."""
    return [_stem(word) for word in _WORD.findall(text.lower())]


def _stem(word: str) -> str:
    word = word.partition("'")[0]
    if word in _SAY_NOTHING:
        return ""
    if not word.isascii():
        return word
    for ending, instead in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _SHORTEST_STEM:
            if ending == "s" and word.endswith("ss"):
                return word
            stem = word[: -len(ending)] + instead
            return stem.removesuffix("e") if len(stem) > _SHORTEST_STEM else stem
    return word
