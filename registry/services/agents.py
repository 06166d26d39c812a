"""Agents and their releases: from a reserved name to a deleted row."""

import hashlib
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import Max
from django.db.models.functions import Lower
from django.utils import timezone

from accounts.callers import Caller
from accounts.roles import Action
from ledger import audit
from ledger.errors import Conflict, NotFound
from registry.enums import Health
from registry.models import Agent, AgentCredentials, Release
from registry.secrets import decrypt, encrypt
from registry.services.lifecycle import (
    activate_agent,
    deprecate_agent,
    fail_agent,
    pause_agent,
    register_agent,
    resume_agent,
    unregister_agent,
)
from registry.spec import AGENT_ID_PATTERN, AgentSpec, canonical_json

__all__ = [
    "AgentSecrets",
    "activate_agent",
    "agent_for",
    "agent_of_egress_token",
    "apply_spec",
    "create_release",
    "credentials_of",
    "delete_agent",
    "deprecate_agent",
    "fail_agent",
    "pause_agent",
    "record_health",
    "register_agent",
    "reserve_agent",
    "resume_agent",
    "unregister_agent",
    "update_agent",
]

_UNIQUE_ID: Final = "registry_agent_id_unique"


@dataclass(frozen=True)
class AgentSecrets:
    """What one agent signs in with, and what others need to call it."""

    invoke_token: str = field(repr=False)
    egress_token: str = field(repr=False)
    """Starts with the agent's id, so that the way out can tell who is asking."""
    redis_password: str = field(repr=False)
    database_password: str = field(repr=False)


def agent_for(caller: Caller, agent_id: str) -> Agent:
    """Return the caller's agent with this ``agent_id`` (in any case) or UUID.

    Raises:
        NotFound: ``agent_not_found``; another organisation's agent looks the same.

    """
    caller.require(Action.VIEW)
    agents = Agent.objects.of(caller.organization).select_related("organization")
    found: Agent | None = None
    if re.fullmatch(AGENT_ID_PATTERN, agent_id):
        found = agents.alias(lower=Lower("agent_id")).filter(lower=agent_id.lower()).first()
    if found is None and (uuid := _uuid(agent_id)):
        found = agents.filter(pk=uuid).first()
    if found is None:
        raise NotFound("agent_not_found", "There is no such agent. Look it up in the agent list.")
    return found


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def reserve_agent(*, caller: Caller, spec: AgentSpec) -> Agent:
    """Take the name: make the agent's row, as a draft, and its credentials.

    Raises:
        NotAllowed: the role does not include creating agents.
        Conflict: ``agent_id_taken``; of two callers at once exactly one gets the name.

    """
    caller.require(Action.CREATE_AGENTS)
    try:
        with transaction.atomic():
            agent = Agent.objects.create(
                organization=caller.organization,
                agent_id=spec.agent_id,
                owner=caller.user,
                template_slug=spec.template.slug,
                template_version=spec.template.version,
                **_described(spec),
            )
            AgentCredentials.objects.create(agent=agent, ciphertext=_new_credentials(agent))
    except IntegrityError as error:
        if _UNIQUE_ID not in str(error):
            raise
        raise Conflict(
            "agent_id_taken",
            f"An agent called {spec.agent_id} already exists. Choose another agent id.",
        ) from None
    audit.record("agent.created", agent, actor=caller.user, detail={"agent_id": agent.agent_id})
    return agent


def _described(spec: AgentSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "display_name": spec.display_name,
        "description": spec.description,
        "tier": spec.tier,
        "tags": list(spec.tags),
    }


def _new_credentials(agent: Agent) -> bytes:
    made = AgentSecrets(
        invoke_token=secrets.token_urlsafe(32),
        egress_token=f"{agent.id.hex}.{secrets.token_urlsafe(32)}",
        redis_password=secrets.token_urlsafe(32),
        database_password=secrets.token_urlsafe(32),
    )
    return encrypt(json.dumps(asdict(made)).encode())


def credentials_of(agent: Agent) -> AgentSecrets:
    """Return what the agent signs in with. For the platform's own use, never for an answer.

    Raises:
        NotFound: the agent was deleted.

    """
    row = AgentCredentials.objects.filter(agent=agent).first()
    if row is None:
        raise NotFound("agent_not_found", "This agent was deleted.")
    return AgentSecrets(**json.loads(decrypt(row.ciphertext)))


def agent_of_egress_token(token: str) -> Agent | None:
    """Return the agent that holds ``token``, or ``None``; compares in constant time."""
    uuid = _uuid(token.partition(".")[0])
    if uuid is None or not token.isascii():
        return None
    row = (
        AgentCredentials.objects.select_related("agent__organization")
        .filter(agent_id=uuid, agent__deleted_at=None)
        .first()
    )
    if row is None:
        return None
    held = AgentSecrets(**json.loads(decrypt(row.ciphertext))).egress_token
    return row.agent if secrets.compare_digest(held, token) else None


def create_release(
    *, caller: Caller, agent: Agent, spec: AgentSpec, files: Mapping[str, str]
) -> Release:
    """Add the next release of the agent; what equals the newest one is the newest one.

    Raises:
        NotAllowed: the role does not include creating agents.
        NotFound: the agent is not of the caller's organisation, or was deleted.

    """
    caller.require(Action.CREATE_AGENTS)
    digest = spec.digest
    files_digest = hashlib.sha256(canonical_json(dict(files)).encode()).hexdigest()
    with transaction.atomic():
        _lock(caller, agent)
        newest = agent.releases.order_by("-number").first()
        if newest and (newest.digest, newest.files_digest) == (digest, files_digest):
            return newest
        last = agent.releases.aggregate(last=Max("number"))["last"] or 0
        release = Release.objects.create(
            agent=agent,
            number=last + 1,
            spec=spec.to_json_dict(),
            digest=digest,
            files=dict(files),
            files_digest=files_digest,
            created_by=caller.user,
        )
        audit.record(
            "agent.released",
            agent,
            actor=caller.user,
            detail={"release": release.number, "digest": digest},
        )
    return release


def _lock(caller: Caller, agent: Agent) -> Agent:
    locked = (
        Agent.objects.of(caller.organization).select_for_update(of=("self",)).filter(pk=agent.pk)
    )
    if (row := locked.first()) is None:
        raise NotFound("agent_not_found", "There is no such agent. Look it up in the agent list.")
    return row


def apply_spec(*, caller: Caller, agent: Agent, spec: AgentSpec) -> Agent:
    """Let the agent's row say what ``spec`` says: names, description, tier, tags, template.

    Raises:
        NotAllowed: the role does not include creating agents.
        NotFound: the agent is not of the caller's organisation, or was deleted.

    """
    return update_agent(
        caller=caller,
        agent=agent,
        changes={
            **_described(spec),
            "template_slug": spec.template.slug,
            "template_version": spec.template.version,
        },
    )


def update_agent(*, caller: Caller, agent: Agent, changes: Mapping[str, Any]) -> Agent:
    """Write ``changes`` (column → checked value) to the agent's row; the audit trail keeps both.

    Raises:
        NotAllowed: the role does not include creating agents.
        NotFound: the agent is not of the caller's organisation, or was deleted.

    """
    caller.require(Action.CREATE_AGENTS)
    with transaction.atomic():
        locked = _lock(caller, agent)
        for name, value in changes.items():
            setattr(locked, name, value)
            setattr(agent, name, value)
        locked.save(update_fields=[*changes, "updated_at"])
        agent.updated_at = locked.updated_at
    return agent


def delete_agent(*, caller: Caller, agent: Agent) -> None:
    """Delete the agent: its credentials at once, its row kept for the record, its name free again.

    The room that provisions calls this once nothing of the agent is left outside the database.

    Raises:
        NotAllowed: the role does not include creating agents.
        NotFound: the agent is not of the caller's organisation, or is deleted already.
        Conflict: ``agent_deployed``; it is still registered.

    """
    caller.require(Action.CREATE_AGENTS)
    with transaction.atomic():
        locked = _lock(caller, agent)
        if locked.registered_at is not None:
            raise Conflict("agent_deployed", "This agent is deployed. Undeploy it first.")
        now = timezone.now()
        AgentCredentials.objects.filter(agent=agent).delete()
        Agent.objects.filter(pk=agent.pk).update(deleted_at=now, updated_at=now)
        agent.deleted_at = now
        audit.record("agent.deleted", agent, actor=caller.user, detail={"agent_id": agent.agent_id})


def record_health(*, agent: Agent, health: Health, detail: Mapping[str, Any]) -> None:
    """Remember what a check of the agent found at ``agent.endpoint``.

    Nothing is written when it answers elsewhere by now, or was undeployed meanwhile.
    """
    now = timezone.now()
    asked = Agent.objects.filter(pk=agent.pk, endpoint=agent.endpoint, deleted_at=None)
    if asked.update(health=health, health_detail=dict(detail), health_checked_at=now):
        agent.health, agent.health_detail, agent.health_checked_at = health, dict(detail), now
