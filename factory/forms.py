"""Filters of the operator's lists."""

from collections.abc import Sequence

from django import forms
from django.db.models import Q

from factory.services.catalog import TemplateCard
from provisioning.enums import DeploymentStatus
from provisioning.models import DeploymentQuerySet
from registry.enums import AgentStatus
from registry.models import AgentQuerySet
from templates_lib.enums import Category, Complexity

_CATEGORIES = [("", "Any category"), *Category.choices]
_COMPLEXITIES = [("", "Any complexity"), *Complexity.choices]
_TIERS = [("", "Any tier"), *((str(number), f"Tier {number}") for number in range(1, 6))]


def _search(placeholder: str) -> forms.CharField:
    return forms.CharField(
        label="Search",
        required=False,
        max_length=100,
        widget=forms.TextInput(attrs={"type": "search", "placeholder": placeholder}),
    )


class FilterForm(forms.Form):
    """A filter; what can't be read in an address filters nothing."""

    def value(self, name: str) -> str:
        """Return a filter's value, empty if it is not set."""
        if not self.is_bound:
            return ""
        self.is_valid()
        return str(self.cleaned_data.get(name) or "").replace("\x00", "").strip()


class TemplateFilterForm(FilterForm):
    """Which templates to show."""

    q = _search("Name, purpose, capability")
    category = forms.ChoiceField(required=False, choices=_CATEGORIES)
    complexity = forms.ChoiceField(required=False, choices=_COMPLEXITIES)
    tier = forms.ChoiceField(required=False, choices=_TIERS)

    def offer(self, cards: Sequence[TemplateCard]) -> None:
        """Leave only the choices that at least one of ``cards`` fits."""
        for name, choices, values in (
            ("category", _CATEGORIES, {str(card.definition.category) for card in cards}),
            ("complexity", _COMPLEXITIES, {str(card.definition.complexity) for card in cards}),
            ("tier", _TIERS, {str(card.definition.tier_recommendation) for card in cards}),
        ):
            field = self.fields[name]
            assert isinstance(field, forms.ChoiceField)  # noqa: S101 - told to the type checker
            field.choices = [choice for choice in choices if choice[0] in ("", *values)]

    def narrow(self, cards: Sequence[TemplateCard]) -> list[TemplateCard]:
        """Return the cards that fit."""
        words = self.value("q").lower().split()
        category, complexity = self.value("category"), self.value("complexity")
        tier = self.value("tier")
        return [
            card
            for card in cards
            if (not category or card.definition.category == category)
            and (not complexity or card.definition.complexity == complexity)
            and (not tier or str(card.definition.tier_recommendation) == tier)
            and all(word in _haystack(card) for word in words)
        ]


def _haystack(card: TemplateCard) -> str:
    definition = card.definition
    names = (f"{c.name} {c.label}" for c in definition.defaults.capabilities)
    return " ".join(
        [definition.name, definition.summary, definition.description, definition.use_case, *names]
    ).lower()


class AgentFilterForm(FilterForm):
    """Which agents to show."""

    q = _search("Name or ID")
    status = forms.ChoiceField(required=False, choices=[("", "Any status"), *AgentStatus.choices])
    tier = forms.ChoiceField(required=False, choices=_TIERS)
    tag = forms.CharField(required=False, max_length=40)

    def narrow(self, agents: AgentQuerySet) -> AgentQuerySet:
        """Return the agents that fit."""
        for word in self.value("q").split()[:5]:
            agents = agents.filter(
                Q(name__icontains=word)
                | Q(agent_id__icontains=word)
                | Q(display_name__icontains=word)
            )
        if status := self.value("status"):
            agents = agents.filter(status=status)
        if tier := self.value("tier"):
            agents = agents.filter(tier=int(tier))
        if tag := self.value("tag"):
            agents = agents.filter(tags__contains=[tag])
        return agents


class DeploymentFilterForm(FilterForm):
    """Which deployments to show."""

    status = forms.ChoiceField(
        required=False, choices=[("", "Any status"), *DeploymentStatus.choices]
    )

    def narrow(self, deployments: DeploymentQuerySet) -> DeploymentQuerySet:
        """Return the deployments that fit."""
        status = self.value("status")
        return deployments.filter(status=status) if status else deployments
