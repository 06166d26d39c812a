"""The agent's message queues: a Redis user, a key prefix and three streams of its own."""

from typing import Any

from provisioning.steps.base import Step, StepContext, StepOutcome
from provisioning.stores.queues import QueueStore


class ProvisionQueues(Step):
    """Makes the user and the streams for commands, events and results."""

    name = "provision_queues"
    title = "Provisioning message queues"
    timeout_seconds = 30
    usual_seconds = 1
    advice = "The message queues could not be made. Check that Redis answers, then retry."

    def plan(self, ctx: StepContext) -> dict[str, Any]:
        """Say whose queues, and whether they were there before."""
        key = ctx.agent.key
        return {"key": key, "existed": QueueStore(key).exists()}

    def apply(self, ctx: StepContext) -> StepOutcome:
        """Make them."""
        QueueStore(ctx.agent.key).ensure(ctx.secrets.redis_password)
        return StepOutcome(
            {"key": ctx.agent.key}, f"Streams agent.{ctx.agent.key}.commands, events, results"
        )

    def compensate(self, ctx: StepContext) -> None:
        """Remove user and keys, unless they were there before."""
        if not ctx.intent["existed"]:
            QueueStore(ctx.intent["key"]).remove()

    def leftovers(self, ctx: StepContext) -> list[str]:
        """Name the queues."""
        return [f"message queues agent.{ctx.intent['key']}.*"]
