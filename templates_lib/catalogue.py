"""Finding templates by what they are for, in a number of queries that does not grow."""

from dataclasses import dataclass

from django.db.models import Count

from registry.models import Agent
from templates_lib.definition import TemplateDefinition
from templates_lib.definitions import definitions_of
from templates_lib.models import TemplateVersion


@dataclass(frozen=True)
class TemplateFilter:
    """What is asked for; an empty text or ``None`` asks nothing."""

    category: str = ""
    complexity: str = ""
    tier: int | None = None
    use_case: str = ""
    q: str = ""

    def matches(self, definition: TemplateDefinition) -> bool:
        """Whether the template is what is asked for."""
        words = self.q.casefold().split()
        text = _searchable(definition) if words else ""
        return (
            (not self.category or definition.category == self.category)
            and (not self.complexity or definition.complexity == self.complexity)
            and (self.tier is None or definition.tier_recommendation == self.tier)
            and self.use_case.casefold() in definition.use_case.casefold()
            and all(word in text for word in words)
        )


def find_templates(
    wanted: TemplateFilter | None = None,
) -> list[tuple[TemplateVersion, TemplateDefinition]]:
    """Return the newest published version of each template that matches, in order."""
    wanted = wanted or TemplateFilter()
    # The definitions are the bulk of a row, and nearly always at hand already.
    versions = list(TemplateVersion.objects.newest_published().defer("definition", "files"))
    definitions = definitions_of(versions)
    return [
        (version, definitions[version.digest])
        for version in versions
        if wanted.matches(definitions[version.digest])
    ]


def usage_counts(slug: str | None = None) -> dict[str, int]:
    """Return how many agents were ever made from each template (or only the one called so)."""
    agents = Agent.objects.all() if slug is None else Agent.objects.filter(template_slug=slug)
    rows = agents.order_by().values("template_slug").annotate(count=Count("pk"))
    return {row["template_slug"]: row["count"] for row in rows}


def _searchable(definition: TemplateDefinition) -> str:
    parts = [
        definition.slug,
        definition.name,
        definition.summary,
        definition.description,
        definition.use_case,
        definition.category.label,
        *(f"{c.label} {c.name} {c.description}" for c in definition.defaults.capabilities),
        *(f"{tool.name} {tool.label}" for tool in definition.defaults.tools),
        *definition.defaults.tags,
    ]
    return "\n".join(parts).casefold()
