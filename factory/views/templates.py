"""The template library as operators see it."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.views.generic import TemplateView

from accounts.portal import PortalMixin
from accounts.roles import Action
from factory.services.catalog import TemplateCard
from factory.wizard.pages import template_page
from templates_lib.catalogue import usage_counts
from templates_lib.services import definition_of, shown_version


class TemplateListView(PortalMixin, TemplateView):
    """The published templates."""

    template_name = "factory/templates.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Add the cards that the filter leaves."""
        return super().get_context_data(**kwargs, **template_page(self.request, self.caller))

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show the page; the search as one types asks for the cards alone."""
        if request.headers.get("HX-Target") == "template-cards":
            self.template_name = "factory/parts/template_cards.html"
        return super().get(request, *args, **kwargs)


class TemplateDetailView(PortalMixin, TemplateView):
    """One template, all of it."""

    template_name = "factory/template.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Add the template."""
        version = shown_version(kwargs["slug"])
        counts = usage_counts()
        card = TemplateCard(
            template=version.template,
            version=version,
            definition=definition_of(version),
            usage_count=counts.get(version.template.slug, 0),
        )
        return super().get_context_data(
            **kwargs,
            card=card,
            t=card.definition,
            may_create=self.caller.may(Action.CREATE_AGENTS),
        )

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show the page; the wizard's preview asks for the panel alone."""
        if request.headers.get("HX-Target") == "template-preview-body":
            self.template_name = "factory/parts/template_panel.html"
        return super().get(request, *args, **kwargs)
