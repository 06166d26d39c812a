"""How the things that are made for agents are named outside the database."""

from __future__ import annotations

import re
from typing import Final

# Neither has an underscore, and the installation has no hyphen: so names that are made of both
# can be taken apart again, and no installation's prefix begins another's.
_INSTALLATION: Final = re.compile(r"[a-z0-9]{1,10}")
_KEY: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,47}[a-z0-9])?")


def checked_installation(installation: str) -> str:
    """Return the installation's id. Raises ValueError saying how it has to look."""
    if not _INSTALLATION.fullmatch(installation):
        raise ValueError(
            f"The installation id {installation!r} cannot be part of a name: set INSTALLATION_ID "
            "to at most 10 lower-case letters and digits."
        )
    return installation


def checked_key(key: str) -> str:
    """Return the agent's key. Raises ValueError when it could name anything but one agent."""
    if not _KEY.fullmatch(key):
        raise ValueError(
            f"The agent key {key!r} cannot be part of a name: use at most 49 lower-case letters, "
            "digits and inner hyphens."
        )
    return key
