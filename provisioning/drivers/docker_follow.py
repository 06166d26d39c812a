"""Following what a container writes.

The SDK's own stream cannot be left before it ends without leaving its connection open.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from provisioning.drivers.docker_engine import TIMEOUT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from docker.api.client import APIClient

# Each piece of output has a header: its stream and three zeros, then its length (the engine's API,
# "Attach to a container", stream format).
_HEADER: Final = struct.Struct(">BxxxL")
_NOT_FOUND: Final = 404


def follow_output(client: APIClient, name: str) -> Iterator[bytes]:
    """Yield pieces of output from the start until the container ends; none if it is missing."""
    with client.get(
        f"{client.base_url}/v{client.api_version}/containers/{quote(name, safe='')}/logs",
        params={"stdout": 1, "stderr": 1, "follow": 1},
        stream=True,
        # It may be silent for as long as it likes.
        timeout=(TIMEOUT_SECONDS, None),
    ) as response:
        if response.status_code == _NOT_FOUND:
            return
        response.raise_for_status()
        while len(header := response.raw.read(_HEADER.size)) == _HEADER.size:
            _, length = _HEADER.unpack(header)
            yield response.raw.read(length)
