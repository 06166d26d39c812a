"""The parts of a request that have short forms: capabilities, tools and environment."""

import re
from collections.abc import Mapping
from typing import Any, Final

from factory.credentials import (
    ADVICE,
    credential_paths,
    is_credential_header,
    is_credential_name,
    is_credential_value,
)
from ledger.errors import FieldProblem
from registry.schemas import expand_schema
from templates_lib.definition import TemplateDefinition

Problems = list[FieldProblem]

_SCHEMAS: Final = ("input_schema", "output_schema")
_SCHEMA_ADVICE: Final = {
    "input_schema": "Describe what goes in: field names with types, or a JSON Schema.",
    "output_schema": "Describe what comes out: field names with types, or a JSON Schema.",
}
# Names by which the platform, Python and the loader are steered.
_RESERVED: Final = re.compile(
    r"^(AGENT_|PYTHON|LD_|PIP_|UV_|SSL_|OPENSSL_|DOCKER_)"
    r"|^(PATH|HOME|USER|SHELL|HOSTNAME|TMPDIR|IFS|ENV|BASH_ENV|(HTTP|HTTPS|ALL|NO)_PROXY)$"
)


def compile_capabilities(
    sent: Any, *, definition: TemplateDefinition, problems: Problems
) -> list[Any]:
    """Return the capabilities as the specification has them.

    A text names one of the template's. An object of the name of one of the template's is filled
    from it; any other without an ``implementation`` is answered by a model from its description.
    """
    if not isinstance(sent, list):
        problems.append(FieldProblem("capabilities", "list_type", "Give a list."))
        return []
    known = _known_capabilities(definition)
    result = [
        _capability(item, f"capabilities.{index}", known, problems)
        for index, item in enumerate(sent)
    ]
    names = [item.get("name") if isinstance(item, dict) else None for item in result]
    _refuse_twice(names, "capabilities.{}.name", "capability", problems)
    missing = [name for name in definition.required_capabilities if name not in names]
    if missing:
        problems.append(
            FieldProblem(
                "capabilities",
                "required_capability",
                f"{definition.name} can't do without {', '.join(missing)}. Put it back.",
            )
        )
    return result


def _capability(
    sent: Any, path: str, known: Mapping[str, dict[str, Any]], problems: Problems
) -> Any:
    if isinstance(sent, str):
        if sent not in known:
            names = ", ".join(item["name"] for item in _unique(known))
            problems.append(
                FieldProblem(
                    path,
                    "unknown_capability",
                    f"The template has no capability of that name. Choose one of: {names}; or "
                    "describe a new one as an object.",
                )
            )
            return None
        return known[sent]
    if not isinstance(sent, dict):
        problems.append(
            FieldProblem(path, "dict_type", "Give a capability's name or describe it as an object.")
        )
        return None
    name = sent.get("name")
    base = known.get(name) if isinstance(name, str) else None
    result = {**(base or {}), **_expanded(sent, path, problems)}
    if base is not None:
        result["name"] = base["name"]
        changed = any(key in sent and result[key] != base[key] for key in _SCHEMAS)
        if changed and "examples" not in sent:
            # The template's examples speak of the template's schemas.
            result["examples"] = []
    elif "implementation" not in sent:
        result["implementation"] = _by_prompt(result, path, problems)
    for key in _SCHEMAS:
        if key not in result:
            problems.append(FieldProblem(f"{path}.{key}", "missing", _SCHEMA_ADVICE[key]))
    _check_call(result.get("implementation"), f"{path}.implementation", problems)
    return result


def _known_capabilities(definition: TemplateDefinition) -> dict[str, dict[str, Any]]:
    """Return the template's capabilities under their names and labels."""
    everything = (*definition.defaults.capabilities, *definition.optional_capabilities)
    known = {item.label: item.model_dump(mode="json", exclude={"label"}) for item in everything}
    return known | {item["name"]: item for item in known.values()}


def _unique(known: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return list({item["name"]: item for item in known.values()}.values())


def _expanded(sent: Mapping[str, Any], path: str, problems: Problems) -> dict[str, Any]:
    result = dict(sent)
    for key in _SCHEMAS:
        if key in result:
            try:
                result[key] = expand_schema(result[key])
            except ValueError as error:
                problems.append(FieldProblem(f"{path}.{key}", "invalid_schema", str(error)))
                result[key] = {"type": "object"}
    return result


def _by_prompt(capability: Mapping[str, Any], path: str, problems: Problems) -> dict[str, Any]:
    description = capability.get("description")
    if not isinstance(description, str) or not description.strip():
        problems.append(
            FieldProblem(
                f"{path}.description",
                "missing",
                "Describe what the capability does: a connected model follows this description. "
                "Or say in implementation how it is done.",
            )
        )
        description = "Answer."
    return {"kind": "prompt", "instructions": description}


def _check_call(implementation: Any, path: str, problems: Problems) -> None:
    """Keep credentials out of an HTTP call's address and headers."""
    if not isinstance(implementation, dict):
        return
    headers = implementation.get("headers")
    for name, value in (headers if isinstance(headers, dict) else {}).items():
        if is_credential_header(str(name)) or is_credential_value(str(value)):
            problems.append(FieldProblem(f"{path}.headers.{name}", "credential", ADVICE))
    url = implementation.get("url")
    if isinstance(url, str) and is_credential_value(url):
        problems.append(FieldProblem(f"{path}.url", "credential", ADVICE))


def compile_tools(sent: Any, *, definition: TemplateDefinition, problems: Problems) -> list[Any]:
    """Return the tools as the specification has them; a text names a tool, as people know it."""
    if not isinstance(sent, list):
        problems.append(FieldProblem("tools", "list_type", "Give a list."))
        return []
    result = [
        _tool(item, f"tools.{index}", definition, problems) for index, item in enumerate(sent)
    ]
    slugs = [item.get("tool") if isinstance(item, dict) else None for item in result]
    _refuse_twice(slugs, "tools.{}", "tool", problems)
    return result


def _tool(sent: Any, path: str, definition: TemplateDefinition, problems: Problems) -> Any:
    if isinstance(sent, str):
        sent = {"tool": sent}
    if not isinstance(sent, dict):
        problems.append(
            FieldProblem(path, "dict_type", "Give a tool's name, or an object with tool in it.")
        )
        return None
    name = sent.get("tool")
    if not isinstance(name, str):
        return sent
    defaults = {item.tool: item for item in definition.defaults.tools}
    words = {
        word.lower(): item.tool for item in defaults.values() for word in (item.name, item.label)
    }
    slug = words.get(name.lower(), re.sub(r"[\s_]+", "-", name.strip().lower()))
    base = defaults[slug].to_binding().model_dump(mode="json") if slug in defaults else {}
    for where in credential_paths(sent.get("parameters"), f"{path}.parameters"):
        problems.append(FieldProblem(where, "credential", ADVICE))
    return {**base, **sent, "tool": slug}


def compile_environment(sent: Any, *, problems: Problems) -> list[Any]:
    """Return the environment as a list of names and values; an object is taken as one, too."""
    by_name = isinstance(sent, dict)
    items = [{"name": key, "value": value} for key, value in sent.items()] if by_name else sent
    if not isinstance(items, list):
        problems.append(
            FieldProblem("environment", "list_type", "Give names and values as an object.")
        )
        return []
    for index, item in enumerate(items):
        if isinstance(item, dict):
            path = f"environment.{item['name']}" if by_name else f"environment.{index}"
            _check_variable(item, path, problems)
    names = [item.get("name") if isinstance(item, dict) else None for item in items]
    _refuse_twice(names, "environment.{}.name", "environment variable", problems)
    return items


def _check_variable(item: Mapping[str, Any], path: str, problems: Problems) -> None:
    name, value = item.get("name"), item.get("value")
    if isinstance(name, str) and _RESERVED.search(name.upper()):
        problems.append(
            FieldProblem(path, "reserved", "The platform sets this itself. Choose another name.")
        )
    elif (isinstance(name, str) and is_credential_name(name)) or (
        isinstance(value, str) and is_credential_value(value)
    ):
        problems.append(FieldProblem(path, "credential", ADVICE))


def _refuse_twice(names: list[Any], path: str, label: str, problems: Problems) -> None:
    seen: set[str] = set()
    for index, name in enumerate(names):
        if isinstance(name, str) and name in seen:
            problems.append(
                FieldProblem(
                    path.format(index),
                    "duplicate",
                    f"The {label} {name[:64]} is there twice. Keep one of them.",
                )
            )
        elif isinstance(name, str):
            seen.add(name)
