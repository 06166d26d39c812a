"""The connection to the Docker engine, and what its errors mean to a driver."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import docker
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from requests.exceptions import RequestException
from urllib3.exceptions import HTTPError

from provisioning.drivers.base import (
    DriverError,
    NotFoundDriverError,
    PermanentDriverError,
    TransientDriverError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from docker.api.client import APIClient

INSTALLATION_LABEL: Final = "agent-factory.installation"
TIMEOUT_SECONDS: Final = 60
"""For each answer of the engine, and for each pause in a long one."""

_CLIENT_ERRORS: Final = range(400, 500)
_TIMEOUT_STATUS: Final = 408
_CONFLICT_STATUS: Final = 409
_BUSY_STATUS: Final = 429
_NOT_FOUND_STATUS: Final = 404
# Faults that the engine reports as its own, but that stay until a person acts.
_LASTING_FAULTS: Final = {
    "no space left on device": "The engine's disk is full: make room (docker system df).",
    "non-overlapping": (
        "The engine has no free addresses for another network: remove unused ones "
        "(docker network prune)."
    ),
}


def engine() -> APIClient:
    """Return this process's client of the engine that the environment names (DOCKER_HOST).

    Raises:
        TransientDriverError: the engine does not answer.

    """
    # A client must not be shared with a forked child: both would read the same connections.
    # Two threads that come first together would make two, and nobody would close one of them.
    with _connecting:
        return _engine_of(os.getpid())


_connecting = threading.Lock()


@cache
def _engine_of(_process: int) -> APIClient:
    with translated("connect to the Docker engine"):
        return docker.from_env(timeout=TIMEOUT_SECONDS).api


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Raise the engine's errors as the driver's, saying that this was being done."""
    try:
        yield
    except APIError as error:
        raise driver_error(error, doing) from error
    except (DockerException, RequestException, HTTPError, OSError) as error:
        raise TransientDriverError(
            f"Could not {doing}: the Docker engine does not answer. Check that it runs "
            "(docker info)."
        ) from error


def driver_error(error: APIError, doing: str) -> DriverError:
    """Return what the engine's error means: worth another try, lasting, or nothing there."""
    said = " ".join(str(error.explanation or error).split())[:500]
    status = int(error.status_code or 0)
    message = f"Could not {doing}: {said}"
    # Asked first: the engine answers a lack of addresses with "not found".
    advice = lasting_advice(said)
    if advice:
        return PermanentDriverError(f"{message} {advice}")
    if status == _NOT_FOUND_STATUS:
        return NotFoundDriverError(message)
    # A conflict is something else being done to the same thing just now.
    if status in _CLIENT_ERRORS and status not in {
        _TIMEOUT_STATUS,
        _CONFLICT_STATUS,
        _BUSY_STATUS,
    }:
        return PermanentDriverError(message)
    return TransientDriverError(message)


def lasting_advice(said: str) -> str:
    """Return what to do about a fault that stays until a person acts; empty for any other."""
    for fault, advice in _LASTING_FAULTS.items():
        if fault in said.lower():
            return advice
    return ""


def is_conflict(error: APIError) -> bool:
    """Tell whether the name is taken or something else is being done to it just now."""
    return error.status_code == _CONFLICT_STATUS


def find_image(client: APIClient, reference: str) -> dict[str, Any] | None:
    """Return what the engine says of the image, or None if it has none of that name."""
    try:
        found: dict[str, Any] = client.inspect_image(reference)  # type: ignore[no-untyped-call]  # the stubs leave it open
    except (ImageNotFound, NotFound):
        return None
    return found
