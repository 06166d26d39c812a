"""The JSON Schema of ``AgentSpec``, for readers that do not have this code."""

import json
from pathlib import Path
from typing import Any, Final

from registry.spec import AgentSpec

SCHEMA_FILE: Final = Path(__file__).resolve().parent.parent / "agent_runtime" / "spec.schema.json"


def spec_json_schema() -> dict[str, Any]:
    """Return the schema (2020-12) of a specification as ``AgentSpec.to_json_dict`` writes it."""
    schema = AgentSpec.model_json_schema(mode="validation")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def spec_schema_text() -> str:
    """Return the schema as the file holds it."""
    return json.dumps(spec_json_schema(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
