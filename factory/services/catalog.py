"""What there is to choose from: tiers with what is left of them, templates with their use."""

from collections.abc import Mapping
from dataclasses import dataclass

from django.db.models import Count

from accounts.callers import Caller
from accounts.roles import Action
from factory.models import Tier
from registry.models import Agent
from templates_lib.catalogue import TemplateFilter, find_templates, usage_counts
from templates_lib.definition import TemplateDefinition
from templates_lib.models import AgentTemplate, TemplateVersion


@dataclass(frozen=True)
class TierUsage:
    """A tier and how much of its quota the organisation uses."""

    tier: Tier
    used: int

    @property
    def is_full(self) -> bool:
        """Whether no further agent of this tier can be made."""
        return self.used >= self.tier.quota

    @property
    def label(self) -> str:
        """As in "3/10"."""
        return f"{self.used}/{self.tier.quota}"


@dataclass(frozen=True)
class TemplateCard:
    """A template as the library shows it."""

    template: AgentTemplate
    version: TemplateVersion
    definition: TemplateDefinition
    usage_count: int


def tier_usage(*, caller: Caller) -> list[TierUsage]:
    """Return all tiers, lowest first, with the organisation's use. Two queries.

    Raises:
        NotAllowed: the role does not include viewing.

    """
    caller.require(Action.VIEW)
    used: Mapping[int, int] = dict(
        Agent.objects.of(caller.organization)
        .counted_in_quota()
        .order_by()
        .values_list("tier")
        .annotate(Count("id"))
    )
    return [TierUsage(tier, used.get(tier.number, 0)) for tier in Tier.objects.all()]


def template_list(*, caller: Caller, wanted: TemplateFilter | None = None) -> list[TemplateCard]:
    """Return the published templates that match, in the library's order, each with its use.

    Raises:
        NotAllowed: the role does not include viewing.

    """
    caller.require(Action.VIEW)
    counts = usage_counts()
    return [
        TemplateCard(version.template, version, definition, counts.get(definition.slug, 0))
        for version, definition in find_templates(wanted)
    ]
