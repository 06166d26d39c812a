"""Configuration properties that are another name of a field of the specification.

A property of a template's ``config_schema`` with ``"x-spec": "memory.retention_days"`` stands for
that field: giving either one sets both.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

SPEC_KEYWORD: Final = "x-spec"
# Parts of the specification that a configuration value may set.
_CONFIGURABLE_PARTS: Final = ("memory", "policies", "queues", "resources")
_SPEC_PATH: Final = re.compile(r"^[a-z_]{1,40}(\.[a-z_]{1,40}){1,3}$")


def check_config_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Return ``schema`` if each ``x-spec`` in it could be a field of the specification.

    Raises:
        ValueError: one could not.

    """
    for name, path in spec_paths(schema):
        if not _SPEC_PATH.match(path) or path.split(".")[0] not in _CONFIGURABLE_PARTS:
            raise ValueError(
                f'{name}: "{SPEC_KEYWORD}" must be a field of one of '
                f"{', '.join(_CONFIGURABLE_PARTS)}, as in memory.retention_days."
            )
    return schema


def spec_paths(schema: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each configuration property with the specification field that it stands for."""
    properties = schema.get("properties")
    for name, part in (properties if isinstance(properties, dict) else {}).items():
        if isinstance(part, dict) and SPEC_KEYWORD in part:
            yield name, str(part[SPEC_KEYWORD])


def value_at(value: Mapping[str, Any], path: str) -> tuple[Any, bool]:
    """Return what stands at the dotted ``path``, and whether anything does."""
    current: Any = value
    for key in path.split("."):
        if not isinstance(current, Mapping) or key not in current:
            return None, False
        current = current[key]
    return current, True


def put_value(value: dict[str, Any], path: str, new: Any) -> None:
    """Set what stands at the dotted ``path``, unless something on the way is no object."""
    *parents, last = path.split(".")
    current = value
    for key in parents:
        child = current.setdefault(key, {})
        if not isinstance(child, dict):
            # Whoever checks the field itself says what is wrong with it.
            return
        current = child
    current[last] = new
