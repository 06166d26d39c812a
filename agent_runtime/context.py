"""What a capability's code is given: the way to memory, model, services and log."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from agent_runtime.errors import Code, Problem
from agent_runtime.settings import Mode
from agent_runtime.spec import Capability, JsonObject

if TYPE_CHECKING:
    from structlog.stdlib import BoundLogger

    from agent_runtime.runtime import Runtime

Handler = Callable[[dict[str, Any], "Context"], Awaitable[dict[str, Any]]]


class Context:
    """One call of one capability.

    The code names what it wants done; how it is done stands in the specification.
    """

    def __init__(self, runtime: "Runtime", request_id: str, log: "BoundLogger") -> None:
        self._runtime = runtime
        self.request_id = request_id
        self.log = log

    @property
    def spec(self) -> JsonObject:
        """The agent's whole specification."""
        return self._runtime.spec.raw

    async def builtin(self, operation: str, payload: JsonObject) -> JsonObject:
        """Do what the runtime itself can: ``memory.store``, ``agent.describe`` and so on.

        Raises:
            Problem: the input is not usable, or a store cannot be reached.

        """
        from agent_runtime.operations import run_builtin

        return await run_builtin(self._runtime, operation, payload, self.log)

    async def prompt(self, capability: str, payload: JsonObject) -> JsonObject:
        """Ask the connected model, which answers in the capability's output schema.

        Raises:
            Problem: no model is connected, it failed, or it did not keep to the schema.

        """
        found = self._capability(capability, "prompt")
        if self._runtime.settings.mode is Mode.SANDBOX:
            return self._mocked(found, payload)
        from agent_runtime.prompting import ask_model

        return await ask_model(self._runtime, found, payload, self.log)

    async def http(self, capability: str, payload: JsonObject) -> JsonObject:
        """Call the capability's service through the platform's egress.

        Raises:
            Problem: the service or the way to it failed.

        """
        found = self._capability(capability, "http")
        if self._runtime.settings.mode is Mode.SANDBOX:
            return self._mocked(found, payload)
        from agent_runtime.egress import call_service

        return await call_service(self._runtime, found, payload, self.log)

    def _capability(self, name: str, kind: str) -> Capability:
        found = self._runtime.spec.capabilities.get(name)
        if found is None:
            raise Problem(
                Code.CAPABILITY_NOT_FOUND, f"The specification has no capability {name!r}."
            )
        if found.kind != kind:
            raise Problem(
                Code.CAPABILITY_NOT_FOUND, f"The capability {name!r} is not done by {kind}."
            )
        return found

    def _mocked(self, capability: Capability, payload: JsonObject) -> JsonObject:
        from agent_runtime.examples import answer_from_examples

        answer, how = answer_from_examples(capability, payload)
        self.log.info("answering from examples", mocked=True, how=how)
        return answer
