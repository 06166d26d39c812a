"""Buttons that add, remove and move capabilities, tools and scenarios, without validating."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from django.utils.datastructures import MultiValueDict

from factory.wizard import steps
from factory.wizard.fields import format_json
from factory.wizard.forms.base import StepContext
from factory.wizard.forms.capabilities import capability_initial
from factory.wizard.forms.tools import tool_initial
from factory.wizard.rows import change_rows, read_rows

SKILLS: Final = f"{steps.CAPABILITIES}-skills"
TOOLS: Final = f"{steps.CAPABILITIES}-tools"
SCENARIOS: Final = f"{steps.TEST}-scenarios"
_NEW_CAPABILITY: Final = {"kind": "prompt", "timeout_seconds": "30", "temperature": "0"}


def press(
    verb: str,
    argument: str,
    data: MultiValueDict[str, str],
    *,
    context: StepContext,
    post: Mapping[str, Any],
) -> str | None:
    """Do what a button of step 3 says to ``data``; return where to look next, ``None`` if none."""
    part, _, action = verb.partition("-")
    if part == "skills":
        new = _template_capability(argument, context) if argument else dict(_NEW_CAPABILITY)
        return _changed(data, (SKILLS, "skill"), action, argument, new)
    if part == "tools" and action in ("add", "remove", "up", "down"):
        slug = (argument if action == "add" else "") or str(post.get("add_tool", ""))[:63]
        if action == "add" and not any(tool.slug == slug for tool in context.tools):
            return "#tools"
        return _changed(data, (TOOLS, "tool"), action, argument, _template_tool(slug, context))
    return None


def press_scenarios(
    verb: str,
    argument: str,
    data: MultiValueDict[str, str],
    *,
    new_row: Callable[[], Mapping[str, str]],
) -> str | None:
    """Do what a button of step 5's own scenarios says; return where to look next."""
    part, _, action = verb.partition("-")
    if part != "scenarios":
        return None
    new = new_row() if action == "add" else {}
    return _changed(data, (SCENARIOS, "scenario"), action, argument, new)


def _changed(
    data: MultiValueDict[str, str],
    place_of: tuple[str, str],
    action: str,
    argument: str,
    new_row: Mapping[str, str],
) -> str:
    prefix, anchor = place_of
    change_rows(data, prefix, verb=action, argument=argument, new_row=new_row)
    count = len(read_rows(data, prefix))
    place = count - 1 if action == "add" else min(_number(argument), max(count - 1, 0))
    shift = {"up": -1, "down": 1}.get(action, 0)
    place = min(max(place + shift, 0), max(count - 1, 0))
    opened = f"?open={anchor}-{place}" if action == "add" else ""
    return f"{opened}#{anchor}-{place}" if count else f"#{anchor}s"


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 3 else 0  # noqa: PLR2004 - rows are few


def _template_capability(name: str, context: StepContext) -> dict[str, str]:
    found = context.definition.capability(name) if context.definition is not None else None
    if found is None:
        return dict(_NEW_CAPABILITY)
    return _as_typed(capability_initial(found.to_capability()))


def _template_tool(slug: str, context: StepContext) -> dict[str, str]:
    defaults = context.definition.defaults.tools if context.definition is not None else ()
    found = next((tool for tool in defaults if tool.tool == slug), None)
    return _as_typed(tool_initial(found.to_binding())) if found else {"tool": slug}


def _as_typed(values: Mapping[str, Any]) -> dict[str, str]:
    """Return ``values`` as a browser would have posted them."""
    return {
        name: format_json(value) if isinstance(value, dict | list) else str(value)
        for name, value in values.items()
        if value is not None
    }
