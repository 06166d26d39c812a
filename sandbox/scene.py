"""Play one scenario: the calls before it, the call, its measurements and the verdict."""

from dataclasses import dataclass
from typing import Any, Final

from provisioning.agent_client import (
    AgentAnswer,
    AgentAnswerUnusable,
    AgentCallError,
    AgentClient,
    call_capability,
)
from registry.spec import Capability
from sandbox.compare import differences, expects_error
from sandbox.enums import Verdict
from sandbox.gauge import MemoryGauge
from sandbox.loglines import LogTail
from sandbox.models import ScenarioResult
from sandbox.stage import Stage

MAX_CALL_SECONDS: Final = 30.0
"""For each call, whatever the capability's own timeout says."""

_MARGIN_SECONDS: Final = 1.0
_MAX_ERROR: Final = 2000


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What a scenario is played on."""

    client: AgentClient
    stage: Stage
    tail: LogTail
    gauge: MemoryGauge
    capability: Capability
    operation_seconds: float
    seconds_left: float

    @property
    def call_seconds(self) -> float:
        """How long one call may take: a little more than the agent itself allows."""
        own = min(self.capability.timeout_seconds, self.operation_seconds) + _MARGIN_SECONDS
        return max(1.0, min(MAX_CALL_SECONDS, own, self.seconds_left))


class _SetupFailed(Exception):
    """A call beforehand did not succeed."""


def play(scene: Scene, result: ScenarioResult) -> None:
    """Play the scenario and put what came of it into ``result``, unsaved."""
    tail, first_sample = scene.tail, scene.gauge.count
    try:
        _set_the_scene(scene, result)
        answer = _call(scene, result.capability, result.input, tail.request_id(result.position))
    except _SetupFailed as failure:
        _judge_error(result, scene.stage.mask(str(failure)))
    except AgentCallError as failure:
        _judge_error(result, _explain(failure))
    else:
        result.duration_ms = answer.duration_ms
        _judge(scene, result, answer)
    result.memory_mb = scene.gauge.peak_mb(first_sample)
    result.logs = tail.of(result.position)


def _set_the_scene(scene: Scene, result: ScenarioResult) -> None:
    for number, call in enumerate(result.setup, start=1):
        answer = _call(
            scene, call["capability"], call["input"], scene.tail.request_id(result.position, number)
        )
        if not answer.ok:
            raise _SetupFailed(
                f"The call beforehand of {call['capability']} did not succeed: "
                f"{_problem_text(answer)} Mend the scenario's setup, or that capability."
            )


def _call(scene: Scene, capability: str, payload: dict[str, Any], request_id: str) -> AgentAnswer:
    return call_capability(
        scene.client,
        address=scene.stage.address,
        token=scene.stage.invoke_token,
        capability=capability,
        payload=payload,
        request_id=request_id,
        timeout_seconds=scene.call_seconds,
    )


def _judge(scene: Scene, result: ScenarioResult, answer: AgentAnswer) -> None:
    """Compare the answer with what was expected; set output, differences, error and status."""
    expected = result.expected_output
    wants_error = expects_error(expected, scene.capability.output_schema)
    if answer.ok:
        result.output = answer.output
        if wants_error:
            result.error = "An error was expected, but the call succeeded."
    else:
        result.output = {"error": _problem(answer)}
        if not wants_error:
            result.error = scene.stage.mask(_problem_text(answer))[:_MAX_ERROR]
    if expected is not None and (answer.ok or wants_error):
        result.differences = [item.to_json_dict() for item in differences(expected, result.output)]
    failed = bool(result.error or result.differences)
    result.status = Verdict.FAILED if failed else Verdict.PASSED


def _judge_error(result: ScenarioResult, message: str) -> None:
    result.status = Verdict.ERROR
    result.error = message[:_MAX_ERROR]


def _explain(failure: AgentCallError) -> str:
    if isinstance(failure, AgentAnswerUnusable):
        return f"{failure} Make the capability answer less, or plain JSON."
    return f"{failure} Look at the log lines, then run it again."


def _problem(answer: AgentAnswer) -> dict[str, Any]:
    return {
        "code": str(answer.body.get("code", "unknown")),
        "detail": str(answer.body.get("detail", "")),
        "errors": answer.body.get("errors", []),
    }


def _problem_text(answer: AgentAnswer) -> str:
    problem = _problem(answer)
    text = f"{problem['code']}: {problem['detail']}"
    errors = problem["errors"] if isinstance(problem["errors"], list) else []
    named = [
        f"{item.get('attr') or 'input'}: {item.get('detail', '')}"
        for item in errors[:5]
        if isinstance(item, dict)
    ]
    return f"{text} ({'; '.join(named)})" if named else text
