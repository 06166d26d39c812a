"""An agent's page in words: how it stands, what it leans on, what it wrote, how it changed."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from django.utils.dateparse import parse_datetime

from factory.release_changes import Change, spec_changes
from provisioning.enums import DeploymentStatus
from provisioning.models import Deployment
from provisioning.steps.base import split_output
from registry.models import Agent, Release
from registry.spec import AgentSpec

_RELEASES: Final = 10
_FOLLOW: Final = "Follow it step by step"
_DEPENDENCIES: Final[Mapping[str, str]] = {
    "redis": "Redis",
    "queue": "Message queue",
    "postgresql": "Long-term memory",
    "model": "Language model",
    "embeddings": "Embeddings model",
    "credentials": "Credentials",
}
_STATES: Final[Mapping[str, tuple[str, str]]] = {
    "ok": ("healthy", "OK"),
    "down": ("unreachable", "Down"),
    "not_connected": ("not_connected", "Not connected"),
}
_HIDDEN_FACTS: Final = frozenset({"event", "level", "timestamp"})
_LONGEST_FACT: Final = 300


@dataclass(frozen=True)
class Note:
    """How the newest deployment stands, at the top of the page."""

    tone: str
    text: str
    link: str
    """What following it to the deployment's page is for."""


_NOTES: Final[Mapping[str, Note]] = {
    DeploymentStatus.PENDING: Note("info", "It is being deployed.", _FOLLOW),
    DeploymentStatus.PROVISIONING: Note("info", "It is being deployed.", _FOLLOW),
    DeploymentStatus.STOPPING: Note("info", "It is being undeployed.", _FOLLOW),
    DeploymentStatus.STOPPED: Note(
        "info",
        "It is undeployed: it runs no longer, and what it remembered is deleted. Deploy it to let "
        "it run again.",
        "See what was taken away",
    ),
    DeploymentStatus.ROLLING_BACK: Note(
        "bad", "The last deployment did not work and is being undone.", _FOLLOW
    ),
    DeploymentStatus.FAILED: Note(
        "bad", "The last deployment failed and was undone.", "See what happened, retry or discard"
    ),
    DeploymentStatus.ROLLBACK_FAILED: Note(
        "bad",
        "Something that was made for it could not be removed yet. It is tried again by itself.",
        "See what is left",
    ),
    DeploymentStatus.CANCELLED: Note(
        "info", "The last deployment was cancelled. Deploy it to let it run.", "See it"
    ),
}


def deployment_note(deployment: Deployment | None) -> Note | None:
    """Return what is to be said of an agent that does not simply run."""
    if deployment is None:
        return Note("info", "This agent was never deployed. Deploy it to let it run.", "")
    note = _NOTES.get(deployment.status)
    if note is None or note.tone != "bad":
        return note
    reason, _ = split_output(deployment.error_detail)
    return replace(note, text=f"{note.text} {reason}".strip())


@dataclass(frozen=True)
class DependencyLine:
    """One thing that the agent leans on, as its last check found it."""

    title: str
    tone: str
    """A status that has a colour."""
    label: str
    detail: str


def dependency_lines(agent: Agent) -> list[DependencyLine]:
    """Return what the last check found, each thing by its name."""
    found = agent.health_detail.get("dependencies", [])
    lines = []
    for item in found if isinstance(found, list) else []:
        name, status = str(item.get("name", "")), str(item.get("status", ""))
        tone, label = _STATES.get(status, ("unknown", status.replace("_", " ").capitalize()))
        title = _DEPENDENCIES.get(name, name.replace("_", " ").capitalize())
        lines.append(DependencyLine(title, tone, label, str(item.get("detail") or "")))
    return lines


@dataclass(frozen=True)
class LogLine:
    """One line of an agent's log."""

    at: datetime | None
    level: str
    text: str
    facts: str = ""


def log_lines(raw: Iterable[str]) -> list[LogLine]:
    """Return what an agent wrote for people; a line that is not JSON stays as it is."""
    return [_log_line(line) for line in raw if line.strip()]


def _log_line(line: str) -> LogLine:
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict) or not isinstance(said.get("event"), str):
        return LogLine(None, "", line)
    facts = (
        f"{key}={value if isinstance(value, str) else json.dumps(value)}"[:_LONGEST_FACT]
        for key, value in said.items()
        if key not in _HIDDEN_FACTS and value is not None
    )
    at = _moment(str(said.get("timestamp", "")))
    return LogLine(at, str(said.get("level", "")), said["event"], "  ".join(facts))


def _moment(text: str) -> datetime | None:
    """Return the moment in UTC; ``None`` if there is no such one, in UTC or at all."""
    try:
        said = parse_datetime(text)
        return said and (said if said.tzinfo else said.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


@dataclass(frozen=True)
class ReleaseLine:
    """A release, and what differs from the one before."""

    number: int
    created_at: datetime
    by: str
    is_first: bool
    changes: list[Change]
    more: int


def release_lines(agent: Agent) -> list[ReleaseLine]:
    """Return the newest releases with their changes."""
    rows: list[Release] = list(
        agent.releases.order_by("-number")
        .select_related("created_by")
        .only("agent", "number", "created_at", "spec", "created_by__username")[: _RELEASES + 1]
    )
    lines = []
    for place, row in enumerate(rows[:_RELEASES]):
        before = rows[place + 1] if place + 1 < len(rows) else None
        changes, more = spec_changes(before.spec, row.spec) if before is not None else ([], 0)
        by = row.created_by.get_username() if row.created_by else ""
        lines.append(ReleaseLine(row.number, row.created_at, by, before is None, changes, more))
    return lines


def queue_names(agent: Agent) -> Mapping[str, str]:
    """Return what each of the agent's streams is for."""
    return {
        "Commands for it": f"agent.{agent.key}.commands",
        "What it reports": f"agent.{agent.key}.events",
        "Its answers": f"agent.{agent.key}.results",
    }


def invoke_addresses(agent: Agent, spec: AgentSpec, public_url: str) -> list[tuple[str, str]]:
    """Return each capability with the address at which programs call it."""
    base = f"{public_url}/api/agents/{agent.agent_id}/invoke"
    return [(item.name, f"{base}/{item.name}") for item in spec.capabilities]
