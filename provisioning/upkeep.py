"""What running agents need over time, and taking away what nobody owns any more."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Self
from uuid import UUID

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Least
from django.utils import timezone

from ledger.errors import DomainError
from provisioning.drivers import get_driver
from provisioning.drivers.base import (
    LABEL_PREFIX,
    DriverError,
    InstanceState,
    NotFoundDriverError,
    OwnedResource,
    PermanentDriverError,
    RuntimeDriver,
)
from provisioning.enums import DeploymentStatus
from provisioning.health import check
from provisioning.models import Deployment
from provisioning.steps.build_image import build_request
from provisioning.steps.create_container import instance_request
from provisioning.stores import memory, queues
from provisioning.stores.errors import StoreError
from provisioning.turns import clearing, one_at_a_time
from registry.enums import Health
from registry.models import Agent
from registry.services.agents import (
    credentials_of,
    fail_agent,
    record_health,
    register_agent,
)

log = structlog.get_logger(__name__)

_CHECKS_AT_ONCE: Final = 8
_SWEEP_SECONDS: Final = 25.0
"""Till then agents are waited for in one turn: the next turn begins soon after."""
_FIRST_RESTART_PAUSE: Final = timedelta(seconds=10)
_LAST_RESTART_PAUSE: Final = timedelta(minutes=10)
_STAYED_UP: Final = timedelta(minutes=10)
_FAILED_AFTER: Final = 5
"""Times that an agent ended, or could not be started, since it last stayed up."""
_MAX_RESTARTS_COUNTED: Final = 1000
_KEY_ID_LENGTH: Final = 8


def check_agents() -> None:
    """Ask every running agent how it is and keep the answer with it."""
    with one_at_a_time("provisioning.check_agents") as mine:
        if not mine:
            return
        # Who waits longest is asked first: whom this turn does not come to, the next one does.
        waiting_longest = F("agent__health_checked_at").asc(nulls_first=True)
        agents = [row.agent for row in _running().order_by(waiting_longest) if row.agent.endpoint]
        threads = ThreadPoolExecutor(_CHECKS_AT_ONCE)
        asked = {threads.submit(check, agent.endpoint): agent for agent in agents}
        try:
            for answered in as_completed(asked, timeout=_SWEEP_SECONDS):
                checkup = answered.result()
                record_health(agent=asked[answered], health=checkup.health, detail=checkup.detail)
        except TimeoutError:
            left = sum(not answer.done() for answer in asked)
            log.warning("agents left for the next health check", left=left)
        finally:
            threads.shutdown(wait=False, cancel_futures=True)


def look_after_instances() -> None:
    """Start agents again that should run and don't, and note the address of those that moved."""
    for deployment in _running():
        try:
            _look_after(deployment)
        except (DriverError, DomainError) as error:
            log.warning("agent not looked after", deployment=str(deployment.pk), error=str(error))


def restore_queues() -> None:
    """Make the queues of running agents again where the server lost them."""
    owned = set(queues.list_owned())
    for deployment in _running():
        key = deployment.agent.key
        if key in owned:
            continue
        try:
            queues.QueueStore(key).ensure(credentials_of(deployment.agent).redis_password)
        except (StoreError, DomainError) as error:
            log.warning("queue not restored", deployment=str(deployment.pk), error=str(error))
        else:
            log.warning("queue restored", deployment=str(deployment.pk))


def remove_orphans() -> None:
    """Remove everything made for deployments that no deployment owns any more.

    A deployment's row is there before anything is made for it, so what has no owner now never gets
    one, except what is named after the agent alone: a deployment of it that begins now waits until
    that is gone. What sandbox tests made is theirs to remove.
    """
    for driver in _drivers():
        try:
            # Before the owners are read: what is there by now has had its owner before.
            found = list(driver.list_owned())
            held = _Held.read()
            for resource in found:
                if not held.holds(resource):
                    _remove_if_orphan(driver, resource)
        except DriverError as error:
            log.warning("orphans not removed", driver=driver.name, error=str(error))
    _remove_stores(queues.list_owned(), lambda key: queues.QueueStore(key).remove(), "queue")
    _remove_stores(memory.list_owned(), lambda key: memory.MemoryStore(key).remove(), "memory")


def _running() -> QuerySet[Deployment]:
    return (
        Deployment.objects.filter(status=DeploymentStatus.RUNNING)
        .select_related("agent", "release", "organization")
        .defer("release__files")
        .order_by("created_at")
    )


def _look_after(deployment: Deployment) -> None:
    driver = get_driver(deployment.driver)
    instance = driver.inspect(deployment.instance_name)
    now = timezone.now()
    rows = Deployment.objects.filter(pk=deployment.pk, status=DeploymentStatus.RUNNING)
    if instance.state is InstanceState.RUNNING:
        if instance.address != deployment.agent.endpoint:
            _attach(deployment, instance.address)
        if deployment.restarts and now - (deployment.restarted_at or now) > _STAYED_UP:
            rows.update(restarts=0)
        return
    pause: timedelta = _FIRST_RESTART_PAUSE * 2 ** min(deployment.restarts, 10)
    if deployment.restarted_at and now - deployment.restarted_at < min(pause, _LAST_RESTART_PAUSE):
        return
    if not rows.update(restarted_at=now):
        return
    # One that is missing was removed, as the platform does when it stops: only what ended by itself
    # or can't be started counts.
    ended = instance.state is not InstanceState.MISSING
    if ended:
        _count_failure(deployment, "The agent ended again and again soon after its start.")
    log.warning("agent started again", deployment=str(deployment.pk), was=str(instance.state))
    try:
        _start_again(deployment, driver)
    except (PermanentDriverError, NotFoundDriverError):
        if not ended:
            _count_failure(deployment, "The agent can't be started again.")
        raise


def _count_failure(deployment: Deployment, what: str) -> None:
    """Count it for the next pause; so many mean that the agent has failed."""
    rows = Deployment.objects.filter(pk=deployment.pk, status=DeploymentStatus.RUNNING)
    rows.update(restarts=Least(F("restarts") + 1, _MAX_RESTARTS_COUNTED))
    deployment.refresh_from_db(fields=["restarts", "status"])
    if deployment.status == DeploymentStatus.RUNNING and deployment.restarts >= _FAILED_AFTER:
        reason = f"{what} Look at its log, put that right, then activate it."
        if fail_agent(agent=deployment.agent, reason=reason):
            log.warning("agent failed", deployment=str(deployment.pk), reason=reason)


def _start_again(deployment: Deployment, driver: RuntimeDriver) -> None:
    spec = deployment.release.agent_spec()
    try:
        image = driver.ensure_image(build_request(deployment, spec))
        instance = driver.ensure_instance(
            instance_request(
                deployment,
                image=image.reference,
                driver=driver,
                spec=spec,
                secrets=credentials_of(deployment.agent),
            )
        )
    except DriverError:
        message = "The agent stopped and could not be started again yet. The log has the cause."
        record_health(
            agent=deployment.agent, health=Health.UNREACHABLE, detail={"message": message}
        )
        raise
    if not _attach(deployment, instance.address):
        # Undeployed while it was being started.
        driver.remove_instance(deployment.instance_name)


def _attach(deployment: Deployment, address: str) -> bool:
    """Register the agent at ``address``, unless it was undeployed; return whether it still runs."""
    with transaction.atomic():
        # The agent first, as undeploying does: neither waits for the other's.
        Agent.objects.select_for_update().filter(pk=deployment.agent_id).first()
        rows = Deployment.objects.select_for_update().filter(pk=deployment.pk)
        if rows.filter(status=DeploymentStatus.RUNNING).first() is None:
            return False
        register_agent(
            agent=deployment.agent, release=deployment.release, endpoint=address, deployed=False
        )
    log.info("agent answers at another address", deployment=str(deployment.pk))
    return True


@dataclass(frozen=True)
class _Held:
    """What belongs to a deployment: read once, so that looking at healthy things costs nothing."""

    deployments: frozenset[str]
    images: frozenset[str]
    keys: frozenset[str]
    """Of the agents: what their queues and memories are named after."""

    @classmethod
    def read(cls) -> Self:
        """Read it."""
        rows = list(
            Deployment.objects.holding()
            .select_related("agent", "release")
            .defer("release__files", "release__spec")
        )
        return cls(
            deployments=frozenset(str(row.pk) for row in rows),
            images=frozenset(row.image_tag for row in rows),
            keys=frozenset(row.agent.key for row in rows),
        )

    def holds(self, resource: OwnedResource) -> bool:
        """Whether it certainly is no orphan."""
        if resource.kind == "image":
            return resource.name in self.images
        return resource.labels.get(f"{LABEL_PREFIX}deployment", "") in self.deployments


def _drivers() -> Iterable[RuntimeDriver]:
    names = {settings.RUNTIME_DRIVER}
    names.update(Deployment.objects.holding().values_list("driver", flat=True).distinct())
    return [get_driver(name) for name in sorted(names)]


def _remove_if_orphan(driver: RuntimeDriver, resource: OwnedResource) -> None:
    if not resource.labels.get(f"{LABEL_PREFIX}run", "").startswith("deployment:"):
        return
    if resource.kind == "image":
        agent = _agent_labelled(resource.labels.get(f"{LABEL_PREFIX}agent", ""))
        if agent is None:
            _remove_owned(driver, resource)
            return
        with clearing(agent.pk) as mine:
            if mine and all(holder.image_tag != resource.name for holder in _holders(agent)):
                _remove_owned(driver, resource)
        return
    owner = _uuid(resource.labels.get(f"{LABEL_PREFIX}deployment", ""))
    if owner is None or not Deployment.objects.holding().filter(pk=owner).exists():
        _remove_owned(driver, resource)


def _remove_owned(driver: RuntimeDriver, resource: OwnedResource) -> None:
    log.warning("removed what nobody owns", kind=resource.kind, name=resource.name)
    driver.remove_owned(resource)


def _remove_stores(keys: Iterable[str], remove: Callable[[str], None], kind: str) -> None:
    found = list(keys)
    held = _Held.read()
    for key in found:
        if key in held.keys:
            continue
        agent = _agent_of_key(key)
        if agent is None:
            # Of a sandbox test.
            continue
        with clearing(agent.pk) as mine:
            if mine and not _holders(agent).exists():
                log.warning("removed what nobody owns", kind=kind, name=key)
                remove(key)


def _holders(agent: Agent) -> QuerySet[Deployment]:
    rows = Deployment.objects.holding().filter(agent=agent).select_related("agent", "release")
    return rows.defer("release__files", "release__spec")


def _agent_labelled(text: str) -> Agent | None:
    uuid = _uuid(text)
    return Agent.objects.filter(pk=uuid).first() if uuid else None


def _agent_of_key(key: str) -> Agent | None:
    """Return the agent, deleted or not, whose things are named ``key``."""
    start = key[-_KEY_ID_LENGTH:]
    low, high = (_uuid(start + digit * (32 - _KEY_ID_LENGTH)) for digit in "0f")
    if low is None or high is None:
        return None
    candidates = Agent.objects.filter(pk__gte=low, pk__lte=high)
    return next((agent for agent in candidates if agent.key == key), None)


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
