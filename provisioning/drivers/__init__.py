"""Runtime drivers: where agents run. One contract, several engines."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from provisioning.drivers.base import PermanentDriverError

if TYPE_CHECKING:
    from provisioning.drivers.base import RuntimeDriver


def get_driver(name: str | None = None) -> RuntimeDriver:
    """Return the driver of this name, or the one that the settings choose (RUNTIME_DRIVER).

    It is made once for each process; nothing is asked of the engine yet.

    Raises:
        PermanentDriverError: there is no driver of that name.

    """
    from django.conf import settings

    return _driver(name or settings.RUNTIME_DRIVER, settings.INSTALLATION_ID, settings.DATA_DIR)


@cache
def _driver(name: str, installation: str, folder: Path) -> RuntimeDriver:
    # Each engine's library is loaded only where that engine is used.
    if name == "docker":
        from provisioning.drivers.docker import DockerDriver

        return DockerDriver(installation)
    if name == "process":
        from provisioning.drivers.process import ProcessDriver

        return ProcessDriver(installation, Path(folder))
    raise PermanentDriverError(f"There is no runtime driver {name!r}: choose docker or process.")
