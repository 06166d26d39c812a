"""The built-in operations by name."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from agent_runtime.errors import Code, Problem
from agent_runtime.memory.retrieve import retrieve
from agent_runtime.memory.search import search
from agent_runtime.memory.store import store
from agent_runtime.memory.summarize import summarize
from agent_runtime.runtime import Runtime
from agent_runtime.spec import JsonObject

if TYPE_CHECKING:
    from structlog.stdlib import BoundLogger

Operation = Callable[[Runtime, JsonObject, "BoundLogger"], Awaitable[JsonObject]]


async def run_builtin(
    runtime: Runtime, operation: str, payload: JsonObject, log: "BoundLogger"
) -> JsonObject:
    """Do one operation.

    Raises:
        Problem: there is no such operation, its input is not usable, or a store is down.

    """
    found = _OPERATIONS.get(operation)
    if found is None:
        known = ", ".join(sorted(_OPERATIONS))
        raise Problem(Code.CAPABILITY_NOT_FOUND, f"There is no {operation!r}. Use {known}.")
    return await found(runtime, payload, log)


async def describe(runtime: Runtime, _payload: JsonObject, _log: "BoundLogger") -> JsonObject:
    """Say what the agent is and what it can be asked for."""
    raw = runtime.spec.raw
    return {
        "agent_id": runtime.spec.agent_id,
        "name": raw.get("name", ""),
        "display_name": raw.get("display_name", ""),
        "description": raw.get("description", ""),
        "goal": raw.get("goal", ""),
        "tier": raw.get("tier"),
        "digest": runtime.spec.digest,
        "memory": runtime.spec.memory.kind,
        "capabilities": [
            {"name": c.name, "description": c.description, "kind": c.kind}
            for c in runtime.spec.capabilities.values()
        ],
    }


async def health(runtime: Runtime, _payload: JsonObject, _log: "BoundLogger") -> JsonObject:
    """Give the health report, as ``/health`` does."""
    from agent_runtime.dependencies import HealthReport

    report, _ready = await HealthReport(runtime).report()
    return report


_OPERATIONS: Final[dict[str, Operation]] = {
    "memory.store": store,
    "memory.retrieve": retrieve,
    "memory.search": search,
    "memory.summarize": summarize,
    "agent.describe": describe,
    "agent.health": health,
}
