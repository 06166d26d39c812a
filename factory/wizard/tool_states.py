"""What can honestly be said of a tool on step 3: before a test, after one, and after a change."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.utils.dateparse import parse_datetime

from factory.wizard.forms.tools import ToolForm
from registry.enums import ToolKind

PROVIDED: Final = frozenset({ToolKind.REDIS, ToolKind.POSTGRESQL, ToolKind.VECTOR_STORE})
"""Kinds that the platform brings with each agent."""

_NEEDED_FOR: Final = {
    ToolKind.EMBEDDINGS: "Needed only to search the memory by meaning. Without it, the agent finds "
    "what it stored by the words themselves.",
    ToolKind.CHAT_MODEL: "Needed by the capabilities that are done by a prompt.",
}
_LACKS_DIMENSIONS: Final = (
    "Fill in the dimensions, which the test tells: without them, search goes by words."
)


@dataclass(frozen=True)
class ToolState:
    """A tool's badge and what stands behind it."""

    tone: str
    """``ok``, ``bad``, ``warn``, ``info``, or empty for what is neither good nor bad."""
    label: str
    sentence: str
    tested_at: datetime | None = None


def fingerprint(form: ToolForm) -> str:
    """Return what stands for the fields as they are typed; another value, another text."""
    typed = {name: str(form[name].value() or "") for name in form.fields}
    return hashlib.sha256(json.dumps(typed, sort_keys=True).encode()).hexdigest()[:16]


def tool_state(form: ToolForm, check: Mapping[str, Any] | None) -> ToolState:
    """Return the state of a tool; ``check`` is its last connection test, if there was one."""
    if form.row is None:
        return ToolState(
            "bad", "Not available", "It is not in the registry, or switched off. Remove it."
        )
    # A test of other values says nothing about these.
    if check is not None and check.get("of") == fingerprint(form):
        return _tested(form, check)
    return _untested(form, ToolKind(form.row.kind))


def _tested(form: ToolForm, check: Mapping[str, Any]) -> ToolState:
    at = parse_datetime(str(check.get("at", "")))
    detail = str(check.get("detail", ""))
    if not check.get("ok"):
        return ToolState("bad", "Not connected", detail, at)
    if form.lacks_dimensions:
        return ToolState("warn", "Connected, not complete", f"{detail}. {_LACKS_DIMENSIONS}", at)
    return ToolState("ok", "Connected", detail, at)


def _untested(form: ToolForm, kind: ToolKind) -> ToolState:
    if kind in PROVIDED:
        return ToolState(
            "info",
            "Provided when deployed",
            "The platform sets it up for the agent when it is deployed. There is nothing to fill "
            "in; the test tells whether it answers now.",
        )
    if not form.is_filled_in:
        return ToolState(
            "", "Not set up", _NEEDED_FOR.get(kind, "Fill in its fields, or remove it.")
        )
    if form.lacks_dimensions:
        return ToolState("warn", "Not complete", _LACKS_DIMENSIONS)
    return ToolState("warn", "Not tested", "Press Test connection to see whether it answers.")
