"""What a running agent wrote and counted, asked of it as a person looks."""

import math
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

import httpcore
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from ledger.errors import Conflict, Unavailable, UpstreamFailed
from provisioning.agent_client import NOBODY_THERE, AgentClient
from provisioning.agent_identity import NotTheAgent, Peer, current_peer
from provisioning.drivers import get_driver
from provisioning.drivers.base import DriverError, NotFoundDriverError
from provisioning.enums import HOLDING
from provisioning.models import Deployment
from provisioning.steps.base import StepContext
from registry.services.agents import credentials_of

MAX_LOG_LINES: Final = 200
MAX_LINE_CHARACTERS: Final = 2000
_METRICS_SECONDS: Final = 3.0
_MAX_METRICS_BYTES: Final = 262_144
_MAX_CAPABILITIES: Final = 100
_USUAL_SHARE: Final = 0.95
_MOST: Final = 1e15
"""More than any agent counts."""


@dataclass(frozen=True, kw_only=True)
class CapabilityFigures:
    """Calls of one capability since the agent started."""

    name: str
    calls: int
    errors: int
    mean_seconds: float | None
    """``None`` before the first call."""
    usual_seconds: float | None
    """19 of 20 calls took at most this long; ``None`` when some took longer than is counted."""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What an agent counted since it started, and what its instance uses now."""

    capabilities: tuple[CapabilityFigures, ...]
    in_flight: int
    commands: int
    """Commands taken from its queue."""
    memory_mb: float | None
    cpu_seconds: float | None

    @property
    def calls(self) -> int:
        """Return how often it was called."""
        return sum(item.calls for item in self.capabilities)

    @property
    def errors(self) -> int:
        """Return how many of the calls failed."""
        return sum(item.errors for item in self.capabilities)

    @property
    def mean_seconds(self) -> float | None:
        """Return how long a call took on average."""
        timed = [(item.mean_seconds, item.calls) for item in self.capabilities if item.calls]
        calls = sum(count for _, count in timed)
        return sum((mean or 0.0) * count for mean, count in timed) / calls if calls else None


def read_logs(deployment: Deployment, *, lines: int = MAX_LOG_LINES) -> list[str]:
    """Return the last lines that the deployment's instance wrote, oldest first.

    The agent's own credentials are blotted out, and long lines cut.

    Raises:
        Unavailable: ``runtime_unavailable``; the engine does not answer.

    """
    if deployment.status not in HOLDING:
        return []
    try:
        driver = get_driver(deployment.driver)
        found = driver.logs(deployment.instance_name, tail=min(lines, MAX_LOG_LINES))
    except DriverError as error:
        raise Unavailable("runtime_unavailable", f"{error} Then refresh the log.") from error
    # As one text: whoever would put a credential on two lines had to know it.
    text = StepContext(deployment).without_secrets("\n".join(found))
    return [line[:MAX_LINE_CHARACTERS] for line in text.split("\n")] if text else []


def read_figures(deployment: Deployment) -> Figures:
    """Ask the running agent for its own figures, and the engine for what it uses.

    Raises:
        Conflict: ``agent_not_running``.
        Unavailable: ``agent_unreachable``.
        UpstreamFailed: ``agent_answer_unusable``.

    """
    agent = deployment.agent
    if deployment.status not in HOLDING or not agent.endpoint:
        raise Conflict("agent_not_running", "The agent does not run, so there is nothing to count.")
    text = _ask(agent.endpoint, credentials_of(agent).invoke_token)
    memory_mb, cpu_seconds = _usage(deployment)
    try:
        return _figures(text, memory_mb, cpu_seconds)
    except (ValueError, KeyError, OverflowError) as error:
        raise UpstreamFailed(
            "agent_answer_unusable", "What the agent counted can't be read."
        ) from error


def _ask(address: str, token: str) -> str:
    peer = Peer(address, token, time.monotonic() + _METRICS_SECONDS)
    limits = dict.fromkeys(("connect", "read", "write", "pool"), _METRICS_SECONDS)
    asked = current_peer.set(peer)
    try:
        with (
            AgentClient(connections=1) as client,
            client.pool.stream(
                "GET",
                f"http://{peer.label}/metrics",
                headers={"Host": urlsplit(address).netloc, "Authorization": f"Bearer {token}"},
                extensions={"timeout": limits},
            ) as response,
        ):
            raw = b""
            for part in response.iter_stream():
                raw += part
                if len(raw) > _MAX_METRICS_BYTES:
                    raise UpstreamFailed(
                        "agent_answer_unusable", "The agent counts more than can be shown."
                    )
    except NotTheAgent as error:
        raise Unavailable("agent_unreachable", str(error)) from None
    except httpcore.TimeoutException:
        raise Unavailable(
            "agent_unreachable", "The agent does not answer in time: it may be busy or stuck."
        ) from None
    except (httpcore.NetworkError, httpcore.ProtocolError):
        raise Unavailable("agent_unreachable", NOBODY_THERE) from None
    finally:
        current_peer.reset(asked)
    if response.status != HTTPStatus.OK:
        raise Unavailable("agent_unreachable", "The agent is not ready to be asked yet.")
    return raw.decode(errors="replace")


def _usage(deployment: Deployment) -> tuple[float | None, float | None]:
    try:
        usage = get_driver(deployment.driver).usage(deployment.instance_name)
    except (DriverError, NotFoundDriverError):
        return None, None
    return usage.memory_mb, usage.cpu_seconds


def _figures(text: str, memory_mb: float | None, cpu_seconds: float | None) -> Figures:
    samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
    if not all(0 <= s.value <= _MOST for s in samples if s.name.startswith("agent_")):
        raise ValueError("A figure that is negative, not a number or beyond measure.")
    named = sorted({s.labels["capability"] for s in samples if "capability" in s.labels})
    return Figures(
        capabilities=tuple(_of_capability(name, samples) for name in named[:_MAX_CAPABILITIES]),
        in_flight=round(sum(s.value for s in samples if s.name == "agent_in_flight")),
        commands=round(sum(s.value for s in samples if s.name == "agent_queue_commands_total")),
        memory_mb=memory_mb,
        cpu_seconds=cpu_seconds,
    )


def _of_capability(name: str, samples: list[Sample]) -> CapabilityFigures:
    own = [s for s in samples if s.labels.get("capability") == name]
    calls = [s for s in own if s.name == "agent_requests_total"]
    total = round(sum(s.value for s in calls))
    timed = sum(s.value for s in own if s.name == "agent_request_seconds_count")
    seconds = sum(s.value for s in own if s.name == "agent_request_seconds_sum")
    buckets = sorted(
        (float(s.labels["le"]), s.value) for s in own if s.name == "agent_request_seconds_bucket"
    )
    usual = next((le for le, count in buckets if timed and count >= _USUAL_SHARE * timed), None)
    return CapabilityFigures(
        name=name,
        calls=total,
        errors=round(sum(s.value for s in calls if s.labels.get("outcome") != "ok")),
        mean_seconds=seconds / timed if timed else None,
        usual_seconds=usual if usual is not None and math.isfinite(usual) else None,
    )
