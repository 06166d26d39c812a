"""Compiling requests against a template of the library."""

from __future__ import annotations

from typing import Any

import pytest

from factory.compilation import compile_with
from ledger.errors import InvalidInput
from registry.spec import AgentSpec
from templates_lib.definition import TemplateDefinition
from templates_lib.library_loading import LIBRARY
from templates_lib.sources import read_template

SENTIMENT = {
    "name": "analyze_sentiment",
    "description": "Analyze customer sentiment from conversation",
    "input_schema": {"text": "string", "customer_id": "string"},
    "output_schema": {"sentiment": "positive|neutral|negative", "confidence": "float"},
    "timeout_seconds": 30,
}
PROMPT = {"kind": "prompt", "instructions": "Answer."}


def definition(slug: str = "memory-agent") -> TemplateDefinition:
    return read_template(LIBRARY / slug).definition


def compiled(sent: dict[str, Any], template: TemplateDefinition) -> AgentSpec:
    return compile_with({"name": "My Agent", **sent}, definition=template)


def problems(sent: dict[str, Any], template: TemplateDefinition) -> dict[str, str]:
    with pytest.raises(InvalidInput) as caught:
        compiled(sent, template)
    return {problem.attr: problem.detail for problem in caught.value.problems}


def with_capability(**changes: Any) -> dict[str, Any]:
    return {"capabilities": ["store", "retrieve", {**SENTIMENT, **changes}]}
