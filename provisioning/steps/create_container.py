"""The agent's instance: a container, or a local process where there is no container engine."""

from typing import Any

from provisioning.drivers.base import (
    Instance,
    InstanceRequest,
    InstanceState,
    NotFoundDriverError,
    RuntimeDriver,
)
from provisioning.instances import credentials_document
from provisioning.models import Deployment
from provisioning.steps.base import Step, StepContext, StepFailure, StepOutcome
from provisioning.stores.memory import MemoryStore
from provisioning.stores.queues import QueueStore
from registry.services.agents import AgentSecrets
from registry.spec import AgentSpec


def instance_request(
    deployment: Deployment,
    *,
    image: str,
    driver: RuntimeDriver,
    spec: AgentSpec,
    secrets: AgentSecrets,
) -> InstanceRequest:
    """Return everything that the deployment's instance is given, the same each time."""
    key = deployment.agent.key
    return InstanceRequest(
        name=deployment.instance_name,
        image=image,
        network="agents",
        mode="live",
        resources=spec.resources,
        credentials=credentials_document(
            key=key,
            driver=driver,
            network="agents",
            queue=QueueStore(key),
            memory=MemoryStore(key) if spec.memory.uses_postgresql else None,
            secrets=secrets,
            spec=spec,
        ),
        environment={item.name: item.value for item in spec.environment},
        labels=deployment.labels,
    )


def _built_image(deployment: Deployment) -> str:
    built = deployment.steps.get(name="build_image").result
    return str(built["image"])


class CreateContainer(Step):
    """Starts the instance. It waits by itself for the queues and the memory made next."""

    name = "create_container"
    title = "Creating Docker container"
    timeout_seconds = 90
    usual_seconds = 2
    advice = "The agent could not be started."

    def plan(self, ctx: StepContext) -> dict[str, Any]:
        """Say which instance; its name holds the deployment's id, so nobody else's has it."""
        name = ctx.deployment.instance_name
        there = ctx.driver.inspect(name).state is not InstanceState.MISSING
        return {"instance": name, "existed": there}

    def apply(self, ctx: StepContext) -> StepOutcome:
        """Create and start it."""
        request = instance_request(
            ctx.deployment,
            image=_built_image(ctx.deployment),
            driver=ctx.driver,
            spec=ctx.spec,
            secrets=ctx.secrets,
        )
        try:
            instance = ctx.driver.ensure_instance(request)
        except NotFoundDriverError:
            raise StepFailure(
                "image_gone",
                "The image of this release was removed. Deploy again: it is built anew.",
            ) from None
        return StepOutcome(
            {"instance": instance.name, "id": instance.id, "address": instance.address},
            _detail(instance, isolated=ctx.driver.isolated),
        )

    def compensate(self, ctx: StepContext) -> None:
        """Stop and remove it."""
        ctx.driver.remove_instance(ctx.intent["instance"])

    def leftovers(self, ctx: StepContext) -> list[str]:
        """Name the instance."""
        return [f"container {ctx.intent['instance']}"]


def _detail(instance: Instance, *, isolated: bool) -> str:
    if isolated:
        return f"Container ID: {instance.id[:12]}"
    return f"Process {instance.id} (local, not isolated)"
