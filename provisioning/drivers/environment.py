"""The environment of an instance: what the release asks for, under what the platform sets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from provisioning.drivers.base import PermanentDriverError

if TYPE_CHECKING:
    from collections.abc import Mapping

# What would change where the program finds itself, or who it is.
_RESERVED: Final = frozenset(
    {
        "AGENT_CREDENTIALS_FILE",
        "AGENT_HOST",
        "AGENT_MODE",
        "AGENT_PORT",
        "AGENT_SPEC_FILE",
        "HOME",
        "PATH",
    }
)
_RESERVED_BEGINNINGS: Final = ("LD_", "PYTHON")


def merged_environment(wanted: Mapping[str, str], platform: Mapping[str, str]) -> dict[str, str]:
    """Return ``wanted`` with the platform's own variables over it.

    Raises:
        PermanentDriverError: a name that is the platform's, or a name or value that no environment
            can hold.

    """
    for name, value in wanted.items():
        if name.upper() in _RESERVED or name.upper().startswith(_RESERVED_BEGINNINGS):
            raise PermanentDriverError(
                f"The environment variable {name} is set by the platform: choose another name."
            )
        if not name or "=" in name or "\0" in name or "\0" in value:
            raise PermanentDriverError(
                f"The environment variable {name!r} cannot be set: a name holds no '=', and "
                "neither name nor value a null character."
            )
    return {**wanted, **platform}
