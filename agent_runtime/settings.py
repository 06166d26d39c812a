"""What the environment says about this process. Nothing here is secret."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Self

from agent_runtime.errors import StartError

VERSION: Final = "0.1.0"
# Inside its container: who may connect is for the network to decide.
EVERYWHERE: Final = "0.0.0.0"  # noqa: S104 - as above
DEFAULT_CREDENTIALS: Final = "/run/agent/credentials.json"


class Mode(StrEnum):
    """Live, or a sandbox in which models and other services are answered from examples."""

    LIVE = "live"
    SANDBOX = "sandbox"


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the agent finds its files and how it serves. Times in seconds, sizes in bytes."""

    spec_file: Path = Path("spec.json")
    credentials_file: Path = Path(DEFAULT_CREDENTIALS)
    mode: Mode = Mode.LIVE
    host: str = EVERYWHERE
    port: int = 8080
    max_body_bytes: int = 1_048_576
    shutdown_seconds: int = 20
    claim_idle_seconds: int = 30
    credentials_wait_seconds: int = 5

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Read the ``AGENT_*`` variables.

        Raises:
            StartError: a value that is not usable, named with what it may be.

        """
        env = os.environ if environment is None else environment
        mode = env.get("AGENT_MODE", Mode.LIVE)
        if mode not in tuple(Mode):
            raise StartError(f"AGENT_MODE is {mode!r}: set it to live or sandbox.")
        return cls(
            spec_file=Path(env.get("AGENT_SPEC_FILE") or "spec.json"),
            credentials_file=Path(env.get("AGENT_CREDENTIALS_FILE") or DEFAULT_CREDENTIALS),
            mode=Mode(mode),
            host=env.get("AGENT_HOST") or EVERYWHERE,
            port=_whole_number(env, "AGENT_PORT", 8080, 1, 65535),
            max_body_bytes=_whole_number(
                env, "AGENT_MAX_BODY_BYTES", 1_048_576, 1024, 16 * 1_048_576
            ),
            shutdown_seconds=_whole_number(env, "AGENT_SHUTDOWN_SECONDS", 20, 1, 600),
            claim_idle_seconds=_whole_number(env, "AGENT_CLAIM_IDLE_SECONDS", 30, 1, 3600),
            credentials_wait_seconds=_whole_number(env, "AGENT_CREDENTIALS_WAIT_SECONDS", 5, 0, 60),
        )


def _whole_number(env: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = env.get(name)
    if not text:
        return default
    if not (text.isascii() and text.isdigit()) or not low <= int(text) <= high:
        raise StartError(f"{name} is {text!r}: set it to a whole number from {low} to {high}.")
    return int(text)
