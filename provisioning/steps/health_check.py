"""The last question before an agent counts as deployed: whether it answers, with all it needs."""

import time
from typing import Any, Final

from provisioning.drivers.base import Instance, InstanceState
from provisioning.health import Checkup, check
from provisioning.steps.base import Step, StepContext, StepFailure, StepOutcome
from registry.enums import Health
from registry.services.agents import record_health, register_agent

_POLL_SECONDS: Final = (0.05, 0.1, 0.2, 0.5)
_STATUSES: Final = {"ok": "", "down": "down: ", "not_connected": "not connected: "}
# What ends the wait before the step's own limit does.
_MARGIN_SECONDS: Final = 5


class HealthCheck(Step):
    """Asks ``GET /ready`` until the agent says yes."""

    name = "health_check"
    title = "Running health check"
    timeout_seconds = 60
    usual_seconds = 2
    advice = "The agent did not get ready."

    def plan(self, ctx: StepContext) -> dict[str, Any]:
        """Say which instance is asked."""
        return {"instance": ctx.deployment.instance_name}

    def apply(self, ctx: StepContext) -> StepOutcome:
        """Ask until it is ready, it has ended, or time is up."""
        asked = 0
        started = time.monotonic()
        give_up = min(started + self.timeout_seconds, ctx.deadline) - _MARGIN_SECONDS
        while True:
            instance = ctx.driver.inspect(ctx.deployment.instance_name)
            if instance.state is not InstanceState.RUNNING:
                raise StepFailure("instance_stopped", self._stopped(ctx, instance))
            checkup = check(instance.address)
            if checkup.ready:
                return self._healthy(ctx, instance, checkup, time.monotonic() - started)
            if time.monotonic() > give_up:
                raise StepFailure("agent_not_ready", self._not_ready(ctx, checkup))
            time.sleep(_POLL_SECONDS[min(asked, len(_POLL_SECONDS) - 1)])
            asked += 1

    def compensate(self, ctx: StepContext) -> None:
        """Do nothing: a question leaves nothing behind."""

    def leftovers(self, ctx: StepContext) -> list[str]:
        """Return nothing."""
        return []

    def _healthy(
        self, ctx: StepContext, instance: Instance, checkup: Checkup, waited: float
    ) -> StepOutcome:
        # The address may have changed since it was registered: the engine may have restarted it.
        register_agent(agent=ctx.agent, release=ctx.release, endpoint=instance.address)
        record_health(agent=ctx.agent, health=checkup.health, detail=checkup.detail)
        words = "Healthy" if checkup.health is Health.HEALTHY else "Ready, but degraded"
        found = checkup.detail["dependencies"]
        parts = [
            label + ", ".join(item["name"] for item in found if item["status"] == status)
            for status, label in _STATUSES.items()
            if any(item["status"] == status for item in found)
        ]
        return StepOutcome(
            {"health": str(checkup.health)},
            f"{words} after {waited:.1f} s" + (f" ({'; '.join(parts)})" if parts else ""),
        )

    def _stopped(self, ctx: StepContext, instance: Instance) -> str:
        code = "" if instance.exit_code is None else f" with exit code {instance.exit_code}"
        return f"The agent stopped{code}. {ctx.last_output()}"

    def _not_ready(self, ctx: StepContext, checkup: Checkup) -> str:
        missing = "; ".join(checkup.down)
        why = f"It waits for {missing}." if missing else str(checkup.detail.get("message", ""))
        return f"{self.advice} {why} {ctx.last_output()}"
