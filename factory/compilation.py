"""From what an operator sent to the specification of an agent.

The request holds only what was sent; the template version's defaults fill the rest, field by
field, so a default is never mistaken for a choice. Objects (resources, memory, policies, queues)
are filled within; lists (capabilities, tools, tags ...) are taken as sent.
"""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError

from factory.compilation_parts import (
    Problems,
    compile_capabilities,
    compile_environment,
    compile_tools,
)
from factory.credentials import ADVICE, credential_paths
from factory.field_messages import spec_problems
from factory.naming import agent_id_for
from ledger.errors import FieldProblem, InvalidInput
from registry.json_bounds import check_json_bounds
from registry.spec import AgentSpec, canonical_json
from templates_lib.definition import TemplateDefinition
from templates_lib.models import TemplateVersion
from templates_lib.services import definition_of

_PLAIN: Final = (
    "name", "display_name", "description", "goal", "tier", "tags", "industry", "domain",
    "languages", "packages", "agent_id",
)  # fmt: skip
_OBJECTS: Final = ("memory", "resources", "queues", "policies")
REQUEST_FIELDS: Final = frozenset(
    {*_PLAIN, *_OBJECTS, "template_id", "capabilities", "tools", "environment", "config"}
)


def compile_request(request: Mapping[str, Any], *, template_version: TemplateVersion) -> AgentSpec:
    """Return the specification of the agent that ``request`` asks for.

    Raises:
        InvalidInput: ``problems`` names every field of the request that needs attention, by its
            dotted path, with a sentence that says what to do.

    """
    return compile_with(request, definition=definition_of(template_version))


def compile_with(request: Mapping[str, Any], *, definition: TemplateDefinition) -> AgentSpec:
    """Do what ``compile_request`` does, with a definition at hand.

    Raises:
        InvalidInput: as ``compile_request``.

    """
    try:
        check_json_bounds(dict(request))
    except ValueError as error:
        raise InvalidInput("invalid_input", str(error)) from None
    problems: Problems = []
    _refuse_unknown(request, problems)
    draft = _drafted(request, definition, problems)
    spec: AgentSpec | None = None
    try:
        # Strict: a number in quotes is not a number. Whole floats count as whole numbers.
        spec = AgentSpec.model_validate_json(canonical_json(draft), strict=True)
    except ValidationError as error:
        problems.extend(_further(spec_problems(error), request, problems))
    if spec is None or problems:
        raise _invalid(problems)
    return spec


def _invalid(problems: Problems) -> InvalidInput:
    message = (
        problems[0].detail
        if len(problems) == 1
        else "Some fields need attention. Each one says what to do."
    )
    return InvalidInput("invalid_input", message, problems=tuple(problems))


def _refuse_unknown(request: Mapping[str, Any], problems: Problems) -> None:
    for name in sorted(str(key) for key in request.keys() - REQUEST_FIELDS)[:20]:
        known = ", ".join(sorted(REQUEST_FIELDS))
        problems.append(
            FieldProblem(
                name[:100], "unknown_field", f"There is no such field. Known fields: {known}."
            )
        )


def _drafted(
    request: Mapping[str, Any], definition: TemplateDefinition, problems: Problems
) -> dict[str, Any]:
    """Return the specification's fields as sent and filled, not yet validated."""
    defaults = definition.defaults.to_spec_dict()
    draft: dict[str, Any] = {
        **defaults,
        "description": definition.description[:200],
        "tier": definition.tier_recommendation,
        "template": definition.reference.model_dump(mode="json"),
    }
    draft.update({name: request[name] for name in _PLAIN if name in request})
    name = request.get("name")
    if isinstance(name, str):
        draft.setdefault("agent_id", agent_id_for(name))
        draft.setdefault("display_name", name)
    config, parts = _configured(request, definition, problems)
    draft["config"] = config
    for part in _OBJECTS:
        draft[part] = _merged(defaults[part], parts[part]) if part in parts else defaults[part]
    if "capabilities" in request:
        draft["capabilities"] = compile_capabilities(
            request["capabilities"], definition=definition, problems=problems
        )
    if "tools" in request:
        draft["tools"] = compile_tools(request["tools"], definition=definition, problems=problems)
    if "environment" in request:
        draft["environment"] = compile_environment(request["environment"], problems=problems)
    for path in credential_paths(draft["config"], "config"):
        problems.append(FieldProblem(path, "credential", ADVICE))
    return draft


def _configured(
    request: Mapping[str, Any], definition: TemplateDefinition, problems: Problems
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the whole configuration, and the objects that were sent or configured."""
    sent = {part: request[part] for part in _OBJECTS if part in request}
    config = request.get("config", {})
    if not isinstance(config, dict):
        problems.append(FieldProblem("config", "dict_type", "Give a JSON object."))
        config = {}
    for part in [part for part, value in sent.items() if not isinstance(value, dict)]:
        problems.append(FieldProblem(part, "dict_type", "Give a JSON object."))
        del sent[part]
    try:
        return definition.resolve_config(config=config, sent=sent)
    except InvalidInput as error:
        problems.extend(error.problems)
        return dict(definition.defaults.config), sent


def _merged(defaults: Mapping[str, Any], sent: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(defaults)
    for name, value in sent.items():
        below = merged.get(name)
        merged[name] = (
            _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
        )
    return merged


def _further(found: Problems, request: Mapping[str, Any], told: Problems) -> Problems:
    """Return what of ``found`` is new, under the paths of the request."""
    blamed = {problem.attr for problem in told}
    # These follow from the name unless they are sent; what is wrong with it is told there.
    derived = {"agent_id", "display_name"} - request.keys()
    variables = request.get("environment")
    names = list(variables) if isinstance(variables, dict) else []
    result = []
    for problem in found:
        path = problem.attr.split(".")
        if path[0] == "environment" and names and len(path) > 1:
            path[1:] = [str(names[int(path[1])])]
        attr = ".".join(path)
        covered = any(".".join(path[: end + 1]) in blamed for end in range(len(path)))
        if attr in derived or covered or (not problem.attr and blamed):
            continue
        result.append(FieldProblem(attr, problem.code, problem.detail))
    return result
