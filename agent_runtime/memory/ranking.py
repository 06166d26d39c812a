"""How well a text answers a question, from where the question's words stand in it.

BM25 (Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009) of a
text's best passage and of the text as a whole, with more for words that stand together and for a
title, and less for a text of many passages, each of which has its chance of matching by accident.
The constants were set on questions in plain words about the Python language reference; around
them the figures hardly change.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

# Of a passage: how fast a repeated word stops counting, and how much length counts against it.
_K1: Final = 1.5
_B: Final = 0.75
# Of a whole text, and its part in the score.
_WHOLE_K1: Final = 2.5
_WHOLE_B: Final = 0.75
_WHOLE: Final = 0.5
_SECOND: Final = 0.2
_TITLE: Final = 0.3
_MANY: Final = 0.6
# Words that stand within so many words of each other, and what that is worth.
_NEAR: Final = 8
_NEARNESS: Final = 0.8
# Of a long list of places only the first ones are compared.
_PLACES: Final = 40
_LOWEST: Final = 0.0001


@dataclass(frozen=True, slots=True)
class Candidate:
    """One passage: the places of the question's words in it, and which of them are in a title.

    ``words`` is the passage's length, ``context_words`` and ``context_passages`` the whole text's.
    """

    passage: int
    context: int
    words: int
    context_words: int
    context_passages: int
    places: Mapping[str, Sequence[int]]
    in_title: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Collection:
    """What is known of all texts: the rarity of each word, the mean lengths in words."""

    rarity: Mapping[str, float]
    mean_passage: float
    mean_context: float


@dataclass(frozen=True, slots=True)
class Ranked:
    """A context's best passage, and the context's score."""

    context: int
    passage: int
    score: float


def rarity(passages: int, holding: int) -> float:
    """BM25's weight of a word that ``holding`` of ``passages`` hold; never below zero."""
    others = max(passages - holding, 0)
    return math.log(1 + (others + 0.5) / (holding + 0.5))


def rank(candidates: Iterable[Candidate], collection: Collection) -> list[Ranked]:
    """Return the contexts of the candidates, best first, and of equal ones the newest first."""
    by_context: dict[int, list[Candidate]] = {}
    for candidate in candidates:
        by_context.setdefault(candidate.context, []).append(candidate)
    ranked = [_ranked(context, found, collection) for context, found in by_context.items()]
    ranked.sort(key=lambda r: (-r.score, -r.context))
    return ranked


def _ranked(context: int, found: list[Candidate], collection: Collection) -> Ranked:
    scored = sorted(((_passage_score(c, collection), -c.passage) for c in found), reverse=True)
    best, passage = scored[0]
    second = scored[1][0] if len(scored) > 1 else 0.0
    title = frozenset().union(*(c.in_title for c in found))
    score = (
        best
        + _SECOND * second
        + _TITLE * sum(collection.rarity[word] for word in title)
        + _WHOLE * _whole_score(found, collection)
        - _MANY * math.log(max(found[0].context_passages, 1))
    )
    return Ranked(context, -passage, max(score, _LOWEST))


def _passage_score(candidate: Candidate, collection: Collection) -> float:
    counts = {word: len(places) for word, places in candidate.places.items()}
    length = candidate.words / max(collection.mean_passage, 1.0)
    score = _bm25(counts, collection.rarity, _K1 * (1 - _B + _B * length), _K1)
    return score + _NEARNESS * _nearness(candidate.places, collection.rarity)


def _whole_score(found: list[Candidate], collection: Collection) -> float:
    counts: Counter[str] = Counter()
    for candidate in found:
        counts.update({word: len(places) for word, places in candidate.places.items()})
    length = found[0].context_words / max(collection.mean_context, 1.0)
    norm = _WHOLE_K1 * (1 - _WHOLE_B + _WHOLE_B * length)
    return _bm25(counts, collection.rarity, norm, _WHOLE_K1)


def _bm25(
    counts: Mapping[str, int], rarities: Mapping[str, float], norm: float, k1: float
) -> float:
    return sum(rarities[word] * n * (k1 + 1) / (n + norm) for word, n in counts.items())


def _nearness(places: Mapping[str, Sequence[int]], rarities: Mapping[str, float]) -> float:
    """For each pair of words that stand near each other, the commoner's rarity by their gap."""
    total = 0.0
    words = list(places)
    for index, left in enumerate(words):
        for right in words[index + 1 :]:
            gap = min(abs(a - b) for a in places[left][:_PLACES] for b in places[right][:_PLACES])
            if 0 < gap <= _NEAR:
                total += min(rarities[left], rarities[right]) / gap
    return total
