"""The agent's long-term memory: a PostgreSQL role and schema of its own."""

from typing import Any

from provisioning.steps.base import Step, StepContext, StepOutcome
from provisioning.stores.memory import MemoryStore


class SetupMemoryStore(Step):
    """Makes role and schema, if the agent remembers anything in PostgreSQL."""

    name = "setup_memory_store"
    title = "Setting up memory store"
    timeout_seconds = 60
    usual_seconds = 1
    advice = "The memory store could not be made. Check that PostgreSQL answers, then retry."

    def plan(self, ctx: StepContext) -> dict[str, Any]:
        """Say whose memory, whether it is needed, and whether it was there before."""
        key = ctx.agent.key
        if not ctx.spec.memory.uses_postgresql:
            return {"key": key, "needed": False, "existed": False}
        return {"key": key, "needed": True, "existed": MemoryStore(key).exists()}

    def apply(self, ctx: StepContext) -> StepOutcome:
        """Make it."""
        memory = ctx.spec.memory
        if not memory.uses_postgresql:
            kept = "Short-term memory lives in the agent's queue store"
            return StepOutcome(
                detail=kept if memory.uses_redis else "This agent keeps no memory: nothing to do"
            )
        store = MemoryStore(ctx.agent.key)
        store.ensure(ctx.secrets.database_password)
        return StepOutcome({"schema": store.schema}, f"Schema {store.schema}")

    def compensate(self, ctx: StepContext) -> None:
        """Remove role, schema and all that is remembered, unless it was there before."""
        if ctx.intent["needed"] and not ctx.intent["existed"]:
            MemoryStore(ctx.intent["key"]).remove()

    def leftovers(self, ctx: StepContext) -> list[str]:
        """Name the schema."""
        return [f"memory schema {MemoryStore(ctx.intent['key']).schema}"]
