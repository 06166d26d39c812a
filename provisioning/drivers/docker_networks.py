"""The two networks of an installation's agents.

Both are internal bridges without traffic between containers: an agent reaches what the platform's
host serves on the bridge's own address and nothing else, and the host reaches the agent. What the
host serves on *all* its addresses is reachable too, so the platform's servers listen on named ones.

Usable without Django: the launcher needs the addresses before there are settings.
"""

from __future__ import annotations

import ipaddress
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from docker.errors import APIError, NotFound
from docker.types import IPAMConfig, IPAMPool

from provisioning.drivers.base import (
    Network,
    PermanentDriverError,
    TransientDriverError,
)
from provisioning.drivers.docker_engine import (
    INSTALLATION_LABEL,
    driver_error,
    engine,
    is_conflict,
    translated,
)
from provisioning.names import checked_installation

if TYPE_CHECKING:
    from docker.api.client import APIClient

NETWORKS: Final[tuple[Network, ...]] = ("agents", "sandbox")

_OWN_RANGE: Final = ipaddress.ip_network("10.213.0.0/16")
_OWN_PREFIX: Final = 23  # room for some five hundred agents
_OWN_TRIES: Final = 16
_NO_TRAFFIC_BETWEEN: Final = {"com.docker.network.bridge.enable_icc": "false"}


def network_name(installation: str, network: Network) -> str:
    """Return the engine's name of the network."""
    return f"af-{installation}-{network}"


def ensure_networks(installation: str) -> dict[str, str]:
    """Make the networks or find them made; return the host's address on each.

    Raises:
        PermanentDriverError: a network of that name is open to others, or there is no room for one.
        TransientDriverError: the engine does not answer.

    """
    try:
        checked_installation(installation)
    except ValueError as error:
        raise PermanentDriverError(str(error)) from error
    client = engine()
    with translated("make the agents' networks"):
        return {network: _ensure(client, installation, network) for network in NETWORKS}


def remove_networks(installation: str) -> None:
    """Remove both networks; success if there are none. Nothing may be connected any more."""
    client = engine()
    with translated("remove the agents' networks"):
        for network in NETWORKS:
            for found in _find(client, network_name(installation, network)):
                with suppress(NotFound):
                    client.remove_network(found["Id"])


def _ensure(client: APIClient, installation: str, network: Network) -> str:
    name = network_name(installation, network)
    if not _find(client, name):
        try:
            _create(client, installation, name)
        except APIError as error:
            if not is_conflict(error):
                raise driver_error(error, f"make the network {name}") from error
    found = _find(client, name)
    # The engine lets two that are made at the same time have one name. All agree on the first.
    for extra in found[1:]:
        with suppress(APIError):
            client.remove_network(extra["Id"])
    if not found:
        raise TransientDriverError(f"The network {name} was removed while it was made.")
    return _gateway(name, found[0])


def _create(client: APIClient, installation: str, name: str) -> None:
    """Make the network in a place that the engine chooses, or in one of ours when it has no more.

    Engines hand out about thirty places of their own, each far larger than we need.
    """
    for subnet in (None, *_own_subnets(name)):
        pools = [IPAMPool(subnet=subnet)] if subnet else None
        try:
            client.create_network(
                name,
                driver="bridge",
                internal=True,
                check_duplicate=True,
                options=_NO_TRAFFIC_BETWEEN,
                ipam=IPAMConfig(pool_configs=pools),
                labels={INSTALLATION_LABEL: installation},
            )
        except APIError as error:
            refused = error
            if not _is_taken(error):
                raise
        else:
            return
    raise refused


def _own_subnets(name: str) -> list[str]:
    """Return some places to try, other ones for each name."""
    places = list(_OWN_RANGE.subnets(new_prefix=_OWN_PREFIX))
    start = zlib.crc32(name.encode()) % len(places)
    return [str(places[(start + offset) % len(places)]) for offset in range(_OWN_TRIES)]


def _is_taken(error: APIError) -> bool:
    said = str(error).lower()
    return "non-overlapping" in said or "overlaps" in said


def _find(client: APIClient, name: str) -> list[dict[str, Any]]:
    # The engine's filter matches parts of names too.
    found = [one for one in client.networks(names=[name]) if one["Name"] == name]
    return sorted(found, key=lambda one: (one["Created"], one["Id"]))


def _gateway(name: str, found: dict[str, Any]) -> str:
    options = found.get("Options") or {}
    closed = found.get("Internal") and _NO_TRAFFIC_BETWEEN.items() <= options.items()
    for pool in (found.get("IPAM") or {}).get("Config") or []:
        if closed and pool.get("Gateway"):
            return str(pool["Gateway"])
    raise PermanentDriverError(
        f"The network {name} is not the closed one that agents need: remove it "
        f"(docker network rm {name}) and it is made anew."
    )
