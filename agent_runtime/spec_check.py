"""Holds a specification against ``spec.schema.json``, and a capability table against both."""

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from agent_runtime.errors import StartError
from agent_runtime.spec import JsonObject

SCHEMA_FILE: Final = Path(__file__).with_name("spec.schema.json")


def check_spec(raw: JsonObject) -> None:
    """Check ``raw`` against the schema, and each capability's own schemas for being schemas.

    Raises:
        StartError: naming the first place that is wrong.

    """
    # Imported here: jsonschema takes 7 MB, and the process that serves checks in a child.
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError, best_match

    validator = Draft202012Validator(json.loads(SCHEMA_FILE.read_bytes()))
    error = best_match(validator.iter_errors(raw))
    if error is not None:
        where = ".".join(str(part) for part in error.absolute_path) or "the top"
        raise StartError(f"The specification is not valid at {where}: {error.message[:300]}.")
    names = [item["name"] for item in raw["capabilities"]]
    for name in names:
        if names.count(name) > 1:
            raise StartError(f"The specification has the capability {name!r} twice.")
    for item in raw["capabilities"]:
        for part in ("input_schema", "output_schema"):
            try:
                Draft202012Validator.check_schema(item[part])
            except SchemaError as wrong:
                raise StartError(
                    f"The {part} of capability {item['name']!r} is not a JSON Schema: "
                    f"{wrong.message[:300]}."
                ) from wrong


def check_table(raw: JsonObject, table: Mapping[str, Any]) -> None:
    """Check that the code has exactly the capabilities that the specification names.

    Raises:
        StartError: naming the capability that is missing, left over or not ``async def``.

    """
    names = {item["name"] for item in raw["capabilities"]}
    for name in sorted(names - table.keys()):
        raise StartError(
            f"The capability {name!r} is in the specification but not in CAPABILITIES: "
            "add its module to capabilities/__init__.py."
        )
    for name in sorted(table.keys() - names):
        raise StartError(
            f"CAPABILITIES has {name!r}, which the specification does not: take it out."
        )
    for name, handler in sorted(table.items()):
        if not inspect.iscoroutinefunction(handler):
            raise StartError(f"The capability {name!r} is not an `async def`: make its run one.")
