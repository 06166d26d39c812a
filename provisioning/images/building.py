"""Building an image from an archive in memory, and making sense of what the engine answers."""

from __future__ import annotations

import fcntl
import io
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from provisioning.drivers.base import PermanentDriverError, TransientDriverError
from provisioning.drivers.docker_engine import lasting_advice

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from docker.api.client import APIClient

_BUILD_SECONDS: Final = 600
"""The longest pause in the engine's answer while it builds."""
_SHOWN_OUTPUT: Final = 400


def build_from_archive(
    client: APIClient, archive: bytes, *, tag: str, labels: Mapping[str, str]
) -> str:
    """Build the archive's Dockerfile without a network, tag the image, and return its id.

    Raises:
        PermanentDriverError: it does not build.
        TransientDriverError: the engine stopped answering.

    """
    answer: Any = client.build(
        fileobj=io.BytesIO(archive),
        custom_context=True,
        tag=tag,
        labels=dict(labels),
        network_mode="none",
        rm=True,
        forcerm=True,
        timeout=_BUILD_SECONDS,
        decode=True,
    )
    image_id = ""
    output: list[str] = []
    for said in answer:
        output.append(str(said.get("stream", "")))
        image_id = str((said.get("aux") or {}).get("ID", image_id))
        if "error" in said:
            raise _failure(tag, str(said["error"]), "".join(output))
    if not image_id:
        raise TransientDriverError(f"The engine stopped while it built {tag}. Try again.")
    return image_id


def _failure(tag: str, said: str, output: str) -> PermanentDriverError:
    advice = lasting_advice(said)
    words = " ".join(f"{output[-_SHOWN_OUTPUT:]} {said}".split())
    return PermanentDriverError(f"The image {tag} does not build: {words}. {advice}".strip())


@contextmanager
def one_builder() -> Iterator[None]:
    """Let one process of this machine build the shared images at a time."""
    path = Path(tempfile.gettempdir()) / f"agent-factory-images-{os.geteuid()}.lock"
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
