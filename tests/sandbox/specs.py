"""Specifications and scenarios for tests in the sandbox."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sandbox.scenarios import ScenarioInput
from tests.builders import make_spec

if TYPE_CHECKING:
    from registry.spec import AgentSpec

SENTIMENT: dict[str, Any] = {
    "name": "analyze_sentiment",
    "input_schema": {
        "type": "object",
        "properties": {"text": {"type": "string"}},
        "required": ["text"],
    },
    "output_schema": {
        "type": "object",
        "properties": {"sentiment": {"type": "string"}},
        "required": ["sentiment"],
    },
    "examples": [{"input": {"text": "I love it"}, "output": {"sentiment": "positive"}}],
    "implementation": {"kind": "prompt", "instructions": "Judge the sentiment."},
}


def sentiment_spec(**changes: Any) -> AgentSpec:
    """Make an agent whose one capability is answered from its example in a sandbox."""
    return make_spec(**({"capabilities": [SENTIMENT]} | changes))


def scenario(**changes: Any) -> ScenarioInput:
    """Make a scenario that passes."""
    fields: dict[str, Any] = {
        "name": "Analyze Sentiment",
        "input": {"text": "I love it"},
        "expected_output": {"sentiment": "positive"},
    }
    return ScenarioInput(**(fields | changes))


def many(number: int) -> list[ScenarioInput]:
    """Make so many scenarios that pass."""
    return [
        scenario(name=f"Sentiment {index}", capability="analyze_sentiment")
        for index in range(number)
    ]
