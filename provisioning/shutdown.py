"""Leave nothing running when the platform of one machine stops."""

from concurrent.futures import ThreadPoolExecutor
from typing import Final

import structlog

from provisioning.drivers import get_driver
from provisioning.drivers.base import DriverError, OwnedResource

log = structlog.get_logger(__name__)

_AT_ONCE: Final = 8


def stop_instances() -> int:
    """Stop every agent of this installation; return how many there were.

    What they remember is in the database and the queue server. When the platform starts again, the
    reconciler finds their deployments running and makes their instances again.
    """
    driver = get_driver()

    def stop(resource: OwnedResource) -> None:
        try:
            driver.remove_owned(resource)
        except DriverError as error:
            log.warning("agent not stopped", name=resource.name, error=str(error))

    instances = [resource for resource in driver.list_owned() if resource.kind == "instance"]
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        list(threads.map(stop, instances))
    return len(instances)
