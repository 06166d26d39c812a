"""The typed definitions of version rows, and what a template's own row repeats of them."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Final

from templates_lib.definition import TemplateDefinition, parse_definition
from templates_lib.models import AgentTemplate, TemplateVersion

_MAX_CACHED: Final = 256
_cache: OrderedDict[str, TemplateDefinition] = OrderedDict()
_cache_lock = threading.Lock()


def definition_of(version: TemplateVersion) -> TemplateDefinition:
    """Return the typed definition of ``version``, kept by its digest.

    Raises:
        InvalidInput: a draft that was not mended yet.

    """
    found = _cached(version.digest)
    return found if found is not None else _keep(version.digest, version.definition)


def definitions_of(versions: Sequence[TemplateVersion]) -> dict[str, TemplateDefinition]:
    """Return digest → definition of ``versions``, with at most one query for all of them."""
    found = {version.digest: _cached(version.digest) for version in versions}
    missing = [version.pk for version in versions if found[version.digest] is None]
    result = {digest: value for digest, value in found.items() if value is not None}
    if missing:
        rows = TemplateVersion.objects.filter(pk__in=missing).values_list("digest", "definition")
        result |= {digest: _keep(digest, value) for digest, value in rows}
    return result


def forget_definitions() -> None:
    """Forget every definition that is kept; the next reader parses its row again."""
    with _cache_lock:
        _cache.clear()


def _cached(digest: str) -> TemplateDefinition | None:
    with _cache_lock:
        found = _cache.get(digest)
        if found is not None:
            _cache.move_to_end(digest)
        return found


def _keep(digest: str, value: Any) -> TemplateDefinition:
    definition = parse_definition(value)
    with _cache_lock:
        _cache[digest] = definition
        while len(_cache) > _MAX_CACHED:
            _cache.popitem(last=False)
    return definition


def follow_newest(template: AgentTemplate) -> None:
    """Let the template's own columns say what its newest published version says."""
    newest = TemplateVersion.objects.filter(template=template).published().newest_first().first()
    if newest is None:
        return
    for name, value in template_columns(definition_of(newest)).items():
        setattr(template, name, value)
    template.save()


def template_columns(definition: TemplateDefinition) -> dict[str, Any]:
    """Return what the template's row repeats from ``definition``, to be listed and sorted by."""
    return {
        "name": definition.name,
        "description": definition.summary,
        "category": definition.category,
        "complexity": definition.complexity,
        "icon": definition.icon,
        "position": definition.position,
    }
