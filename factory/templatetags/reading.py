"""How values of JSON and change logs are written for people who read no JSON."""

import re
from collections.abc import Mapping
from typing import Any, Final

from django import template
from django.forms import BoundField
from django.utils.safestring import SafeString
from django.utils.text import Truncator

from factory.prose import to_html

register = template.Library()
_MB: Final = 1024
_SENTENCE_END: Final = re.compile(r"(?<=[.!?])\s+|\n")
_SHORT: Final = 120


@register.filter
def readable(value: Any) -> str:
    """Write a JSON value as a phrase: ``a, b`` for a list, ``key: value; …`` for an object."""
    if isinstance(value, Mapping):
        pairs = (f"{key}: {readable(part)}" for key, part in value.items())
        return "; ".join(pairs) or "nothing"
    if isinstance(value, list | tuple):
        joint = "; " if any(isinstance(part, Mapping) for part in value) else ", "
        return joint.join(readable(part) for part in value) or "nothing"
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


@register.filter
def first_sentence(text: str) -> str:
    """Return how ``text`` begins: one sentence of at most 120 characters."""
    first = _SENTENCE_END.split(text.strip(), maxsplit=1)[0]
    return Truncator(first).chars(_SHORT)


@register.filter
def gigabytes(field: BoundField) -> str:
    """Write the field's MB as GB, as in "= 1.5 GB"; nothing for less, or for what is no number."""
    try:
        found = int(str(field.value()))
    except ValueError:
        return ""
    return f"= {found / _MB:.3g} GB" if found >= _MB else ""


@register.filter
def change_log(text: str) -> SafeString:
    """Write a change log as HTML, without its own title; everything in it is escaped."""
    lines = text.strip().splitlines()
    return to_html("\n".join(lines[1:] if lines and lines[0].startswith("# ") else lines))
