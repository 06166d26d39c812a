"""The agent's entry in the registry: from now on it can be found."""

from typing import Any

from provisioning.drivers.base import InstanceState
from provisioning.steps.base import Step, StepContext, StepFailure, StepOutcome
from registry.services.agents import register_agent, unregister_agent


class RegisterAgent(Step):
    """Writes down which release runs and where it answers."""

    name = "register_agent"
    title = "Registering agent"
    timeout_seconds = 30
    usual_seconds = 0.2
    advice = "The agent could not be registered."

    def plan(self, ctx: StepContext) -> dict[str, Any]:
        """Say which agent, and whether it was registered before."""
        return {"agent": str(ctx.agent.pk), "existed": ctx.agent.registered_at is not None}

    def apply(self, ctx: StepContext) -> StepOutcome:
        """Register it where its instance answers now."""
        instance = ctx.driver.inspect(ctx.deployment.instance_name)
        if instance.state is not InstanceState.RUNNING:
            raise StepFailure(
                "instance_stopped",
                f"The agent stopped right after its start. {ctx.last_output()}",
            )
        register_agent(agent=ctx.agent, release=ctx.release, endpoint=instance.address)
        return StepOutcome(
            {"endpoint": instance.address}, f"Release {ctx.release.number} registered as draft"
        )

    def compensate(self, ctx: StepContext) -> None:
        """Take the entry back; an agent that could be called is a draft again."""
        unregister_agent(agent=ctx.agent)

    def leftovers(self, ctx: StepContext) -> list[str]:
        """Name the entry."""
        return [f"registration of {ctx.agent.agent_id}"]
