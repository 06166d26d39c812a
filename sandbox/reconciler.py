"""Put right what died workers and lost messages left. Runs every few seconds, any number of times.

Only what is named and labelled as a sandbox's is touched; deployments have a reconciler of their
own.
"""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Final, TypeVar
from uuid import UUID

import structlog
from django.db.models import Q
from django.utils import timezone

from provisioning.drivers import get_driver
from provisioning.drivers.base import DriverError, OwnedResource
from provisioning.enums import StepStatus
from provisioning.models import Deployment
from provisioning.stores import memory, queues
from provisioning.stores.errors import StoreError
from sandbox.dispatch import dispatch
from sandbox.enums import ACTIVE, SandboxTestStatus
from sandbox.lease import new_lease
from sandbox.models import SandboxTest, is_sandbox_key, sandbox_key
from sandbox.runner import Outcome, clear_away, end_test
from sandbox.stage import RUN_LABEL, RUN_PREFIX

T = TypeVar("T")

log = structlog.get_logger(__name__)

SEND_AGAIN_AFTER: Final = timedelta(seconds=60)
WAIT_AT_MOST: Final = timedelta(minutes=15)
KEEP_IMAGES: Final = timedelta(minutes=10)
"""An image stays this long after its last test ended: the next one of this code starts sooner."""


def reconcile() -> None:
    """End abandoned tests, send waiting ones again, and remove what no live test owns."""
    _end_abandoned()
    _send_waiting()
    _finish_clearing()
    _remove_orphans()


def _end_abandoned() -> None:
    # A lease that ran out can't be renewed any more, so nobody works on these.
    for test in SandboxTest.objects.filter(
        status=SandboxTestStatus.RUNNING, lease_expires_at__lt=timezone.now()
    ):
        if test.cancel_requested_at is not None:
            outcome = Outcome(SandboxTestStatus.CANCELLED)
        else:
            outcome = Outcome(
                SandboxTestStatus.ERRORED,
                "worker_lost",
                "The worker that ran this test stopped. Test again.",
            )
        if end_test(test, outcome):
            log.warning("abandoned test ended", test=str(test.pk))


def _send_waiting() -> None:
    now = timezone.now()
    for test in SandboxTest.objects.filter(
        Q(dispatched_at__lt=now - SEND_AGAIN_AFTER) | Q(dispatched_at=None),
        status=SandboxTestStatus.QUEUED,
    ):
        if test.created_at > now - WAIT_AT_MOST:
            dispatch(test)
        else:
            end_test(
                test,
                Outcome(
                    SandboxTestStatus.ERRORED,
                    "not_started",
                    "No worker took this test. Check that a worker runs, then test again.",
                ),
            )


def _finish_clearing() -> None:
    free = Q(lease_expires_at__lt=timezone.now()) | Q(lease_expires_at=None)
    for test in SandboxTest.objects.exclude(status__in=ACTIVE).filter(free, torn_down_at=None):
        token, expires_at = new_lease()
        taken = SandboxTest.objects.filter(
            free, pk=test.pk, torn_down_at=None, lease_token=test.lease_token
        ).update(lease_token=token, lease_expires_at=expires_at)
        if taken:
            clear_away(test, get_driver(test.driver), token=token)


def _remove_orphans() -> None:
    driver = get_driver()
    # What exists is listed before who lives: a test's row is there before anything of its own.
    resources = _listed(driver.list_owned)
    users, roles = _listed(queues.list_owned), _listed(memory.list_owned)
    live = set(SandboxTest.objects.filter(torn_down_at=None).values_list("pk", flat=True))
    live_keys = {sandbox_key(test_id) for test_id in live}
    for resource in resources:
        test_id = _test_of(resource)
        if test_id is None:
            continue
        used = _image_in_use(resource) if resource.kind == "image" else test_id in live
        if not used:
            _removed(resource.name, partial(driver.remove_owned, resource))
    for key in users:
        if is_sandbox_key(key) and key not in live_keys:
            _removed(key, queues.QueueStore(key).remove)
    for key in roles:
        if is_sandbox_key(key) and key not in live_keys:
            _removed(key, memory.MemoryStore(key).remove)


def _listed(look: Callable[[], list[T]]) -> list[T]:
    try:
        return look()
    except (DriverError, StoreError) as error:
        log.warning("sandbox orphans not looked for", error=str(error)[:300])
        return []


def _removed(name: str, remove: Callable[[], None]) -> None:
    try:
        remove()
    except (DriverError, StoreError) as error:
        # Looked at again at the next beat.
        log.warning("sandbox orphan not removed yet", name=name, error=str(error)[:300])
    else:
        log.info("sandbox orphan removed", name=name)


def _test_of(resource: OwnedResource) -> UUID | None:
    run = resource.labels.get(RUN_LABEL, "")
    try:
        return UUID(run.removeprefix(RUN_PREFIX)) if run.startswith(RUN_PREFIX) else None
    except ValueError:
        return None


def _image_in_use(resource: OwnedResource) -> bool:
    """Whether a test uses the image, or one of code that is no release yet did not long ago."""
    digest = resource.name.rpartition(":")[2]
    tests = SandboxTest.objects.filter(image_digest=digest)
    if tests.filter(torn_down_at=None).exists():
        return True
    recent = tests.filter(torn_down_at__gt=timezone.now() - KEEP_IMAGES)
    if not recent.exists():
        return False
    built = Deployment.objects.filter(
        release__files_digest__startswith=digest,
        steps__name="build_image",
        steps__status=StepStatus.COMPLETED,
    )
    return not built.exists()
