"""``memory.summarize``: what a customer's texts, or one given text, say in a few sentences.

By the connected model; without one, by the sentences whose words the whole text uses most, in the
order in which they stand.
"""

import re
from collections import Counter
from typing import TYPE_CHECKING, Final

from agent_runtime.errors import Code, FieldError, Problem
from agent_runtime.memory.contexts import MAX_CUSTOMER_ID, MAX_TEXT, read_number, read_text
from agent_runtime.memory.words import words_of
from agent_runtime.runtime import Runtime
from agent_runtime.spec import JsonObject

if TYPE_CHECKING:
    from structlog.stdlib import BoundLogger

_MAX_SENTENCES: Final = 50
_CONTEXTS_READ: Final = 100
_MAX_SENTENCE: Final = 600
_SENTENCE: Final = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]?[A-Z0-9À-Þ])|\n\s*\n")


async def summarize(runtime: Runtime, payload: JsonObject, log: "BoundLogger") -> JsonObject:
    """Take ``{customer_id? | text?, max_sentences?}``; give ``{summary, method, contexts_used}``.

    Raises:
        Problem: a field is not usable, or the memory is down.

    """
    sentences = read_number(payload, "max_sentences", 5, _MAX_SENTENCES)
    text = read_text(payload, "text", MAX_TEXT, required=False)
    customer_id = read_text(payload, "customer_id", MAX_CUSTOMER_ID, required=False)
    if text is None and customer_id is None:
        error = FieldError("customer_id", "required", "Send customer_id, or a text.")
        raise Problem(Code.INVALID_INPUT, "There is nothing to summarise.", errors=(error,))
    size = runtime.spec.memory.max_context_size
    texts = [text[:size]] if text is not None else await _texts(runtime, customer_id, size)
    log.info("summarising", contexts=len(texts))
    summary, method = "", "extractive"
    chat = runtime.credentials.chat_model if runtime.credentials else None
    if texts and chat is not None and not runtime.offline:
        from agent_runtime.prompting import summarise_texts

        try:
            summary, method = await summarise_texts(runtime, texts, sentences), "model"
        except Problem as problem:
            log.warning("model failed: summarising by extraction", detail=problem.detail)
    if not summary:
        summary, method = extract(texts, sentences), "extractive"
    log.info("summary made", method=method)
    used = len(texts) if text is None else 0
    return {"summary": summary, "method": method, "contexts_used": used}


async def _texts(runtime: Runtime, customer_id: str | None, size: int) -> list[str]:
    """Return the newest texts that fit into ``size`` characters, oldest first."""
    chosen: list[str] = []
    for context in await runtime.memory().recent(customer_id, _CONTEXTS_READ):
        if size <= 0:
            break
        chosen.append(context.text[:size])
        size -= len(chosen[-1])
    return chosen[::-1]


def extract(texts: list[str], most: int) -> str:
    """Return the ``most`` sentences that say most, in the order in which they stand.

    A sentence counts for the mean weight of its words (how often all texts use them), a little
    more when it opens a text; a sentence that repeats a chosen one is passed over.
    """
    sentences = [
        (" ".join(part.split()), place)
        for text in texts
        for place, part in enumerate(_SENTENCE.split(text))
        if part and part.strip()
    ]
    stems = [[word for word in words_of(sentence) if word] for sentence, _ in sentences]
    weight = Counter(word for words in stems for word in words)
    ranking = sorted(
        range(len(sentences)),
        key=lambda i: (-_worth(stems[i], weight, sentences[i][1]), i),
    )
    chosen: list[int] = []
    for index in ranking:
        new = set(stems[index])
        if new and all(not _same(new, set(stems[other])) for other in chosen):
            chosen.append(index)
        if len(chosen) == most:
            break
    return " ".join(sentences[index][0][:_MAX_SENTENCE] for index in sorted(chosen))


def _worth(words: list[str], weight: Counter[str], place: int) -> float:
    if not words:
        return 0.0
    mean = sum(weight[word] for word in set(words)) / (len(set(words)) + 3)
    return mean * (1.25 if place == 0 else 1.0)


def _same(left: set[str], right: set[str]) -> bool:
    return len(left & right) > 0.8 * min(len(left), len(right))
