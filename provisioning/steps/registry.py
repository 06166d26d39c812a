"""The steps of a deployment, in their order."""

from collections.abc import Mapping
from typing import Final

from provisioning.steps.base import Step
from provisioning.steps.build_image import BuildImage
from provisioning.steps.create_container import CreateContainer
from provisioning.steps.health_check import HealthCheck
from provisioning.steps.provision_queues import ProvisionQueues
from provisioning.steps.register_agent import RegisterAgent
from provisioning.steps.setup_memory_store import SetupMemoryStore

STEPS: Final[tuple[Step, ...]] = (
    BuildImage(),
    CreateContainer(),
    ProvisionQueues(),
    SetupMemoryStore(),
    RegisterAgent(),
    HealthCheck(),
)
"""The container comes before what it needs: it starts up while its queues are made."""

STEPS_BY_NAME: Final[Mapping[str, Step]] = {step.name: step for step in STEPS}
