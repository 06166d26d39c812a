"""What differs between two releases of an agent, field by field, in words."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

_SHOWN: Final = 40
_LONGEST: Final = 160
_LEAD: Final = 40
"""Of two long texts that begin alike: how much is shown of what stands before they differ."""
_NAMES: Final[Mapping[str, str]] = {
    "name": "Name",
    "display_name": "Display name",
    "description": "Description",
    "goal": "Goal",
    "tier": "Tier",
    "tags": "Tags",
    "industry": "Industry",
    "domain": "Domain",
    "languages": "Languages",
    "template.version": "Template version",
    "resources.cpu_cores": "CPU cores",
    "resources.memory_mb": "Memory (MB)",
    "resources.storage_gb": "Storage (GB)",
    "queues.priority": "Queue priority",
    "queues.max_concurrency": "Concurrent calls",
    "packages": "Packages",
    "policies.rate_limit_per_minute": "Rate limit per minute",
}
# Lists whose entries have a name: told apart by it, not by their place.
_KEYED: Final[Mapping[str, tuple[str, str]]] = {
    "capabilities": ("name", "Capability"),
    "tools": ("tool", "Tool"),
    "environment": ("name", "Environment variable"),
}


@dataclass(frozen=True)
class Change:
    """One field that differs."""

    label: str
    before: str
    """Empty where there was nothing."""
    after: str
    """Empty where it was taken away."""

    @property
    def kind(self) -> str:
        """Return ``added``, ``removed`` or ``changed``."""
        if not self.before:
            return "added"
        return "changed" if self.after else "removed"


def spec_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[list[Change], int]:
    """Return the first changes between two specifications, and how many more there are."""
    found = list(_changes(before, after))
    return found[:_SHOWN], max(len(found) - _SHOWN, 0)


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    for field in dict.fromkeys([*after, *before]):
        old, new = before.get(field), after.get(field)
        if old == new:
            continue
        if field in _KEYED and isinstance(old, list) and isinstance(new, list):
            yield from _keyed(field, old, new)
        elif isinstance(old, dict) and isinstance(new, dict):
            yield from _nested(field, old, new)
        else:
            yield from _change(_label(field), old, new)


def _keyed(field: str, old: list[Any], new: list[Any]) -> Iterator[Change]:
    key, label = _KEYED[field]
    was = {item[key]: item for item in old}
    now = {item[key]: item for item in new}
    for name in dict.fromkeys([*now, *was]):
        if name not in was:
            yield from _change(f"{label} {name}", "", now[name].get("description") or "added")
        elif name not in now:
            yield from _change(f"{label} {name}", was[name].get("description") or "there", "")
        else:
            for part in _nested("", was[name], now[name]):
                yield Change(f"{label} {name}: {part.label}", part.before, part.after)
    if was == now and list(was) != list(now):
        yield from _change(f"Order of {field}", list(was), list(now))


def _nested(path: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    for name in dict.fromkeys([*new, *old]):
        here = f"{path}.{name}" if path else name
        was, now = old.get(name), new.get(name)
        if was == now:
            continue
        if isinstance(was, dict) and isinstance(now, dict) and not name.endswith("_schema"):
            yield from _nested(here, was, now)
        else:
            yield from _change(_label(here), was, now)


def _change(label: str, old: Any, new: Any) -> Iterator[Change]:
    """Tell one change, if there is anything to be seen of it."""
    before, after = _words(old), _words(new)
    if before == after:
        if not before:
            # Nothing, written in two ways.
            return
        before, after = _json(old), _json(new)
    start = 0
    if before[:_LONGEST] == after[:_LONGEST]:
        pairs = zip(before, after, strict=False)
        shorter = min(len(before), len(after))
        start = next((place for place, (a, b) in enumerate(pairs) if a != b), shorter) - _LEAD
    yield Change(label, _cut(before, start), _cut(after, start))


def _cut(text: str, start: int) -> str:
    end = start + _LONGEST
    return f"{'…' if start else ''}{text[start:end]}{'…' if len(text) > end else ''}"


def _label(path: str) -> str:
    if path in _NAMES:
        return _NAMES[path]
    words = path.replace(".", ", ").replace("_", " ")
    return words[:1].upper() + words[1:]


def _words(value: Any) -> str:
    """Return the whole value as it reads best; empty where there is nothing."""
    if value is None or value in ("", [], {}):
        return ""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    return value if isinstance(value, str) else _json(value)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
