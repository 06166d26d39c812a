"""The one call at the end of the wizard."""

from collections.abc import Collection
from typing import Final

from accounts.callers import Caller
from factory.models import Blueprint
from factory.services.blueprints import create_agent
from factory.wizard.compose import Composition
from ledger.errors import InvalidInput
from provisioning.models import Deployment

ATTEMPT: Final = "attempt"
"""In a draft's extra data: how often it was opened again after its deployment failed."""


def deploy_draft(
    *, caller: Caller, draft: Blueprint, composition: Composition, scenarios: Collection[str]
) -> Deployment:
    """Create and deploy the agent of a complete draft, once.

    Pressing the button twice, or from two tabs, makes one agent: the key is made of the draft and
    of what it asks for. ``scenarios`` are the names of the test's scenarios as they are now.

    Raises:
        DomainError: as ``create_agent``.

    """
    if composition.error is not None:
        raise composition.error
    if composition.spec is None:
        raise InvalidInput("draft_incomplete", "Some steps are not complete yet.")
    attempt = draft.wizard_state.get("extra_data", {}).get(ATTEMPT, 0)
    _, deployment = create_agent(
        caller=caller,
        request=composition.request,
        idempotency_key=f"wizard-{draft.pk}-{attempt}-{composition.spec.digest}",
        blueprint=draft,
        scenarios=scenarios,
    )
    return deployment
