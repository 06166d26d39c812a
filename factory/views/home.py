"""The first page: the organisation's agents and one's own drafts."""

from typing import Any, Final
from uuid import UUID

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import OuterRef, Subquery
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.generic import TemplateView

from accounts.portal import PortalMixin
from accounts.roles import Action
from factory.forms import AgentFilterForm
from factory.services.blueprints import archive_draft
from factory.wizard.drafts import draft_for, wizard_drafts
from provisioning.enums import ACTIVE
from provisioning.models import Deployment
from registry.models import Agent

PAGE_SIZE: Final = 30
_SHOWN_DRAFTS: Final = 12


class HomeView(PortalMixin, TemplateView):
    """Agents of the organisation, searched and filtered."""

    template_name = "factory/home.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Add the page of agents that the filter leaves, and the caller's drafts."""
        form = AgentFilterForm(self.request.GET or None)
        agents = Agent.objects.of(self.caller.organization)
        work = Deployment.objects.filter(agent=OuterRef("pk"), status__in=ACTIVE)
        rows = form.narrow(agents).annotate(work=Subquery(work.values("status")[:1]))
        page = Paginator(rows.select_related("owner"), PAGE_SIZE).get_page(
            self.request.GET.get("page")
        )
        may_create = self.caller.may(Action.CREATE_AGENTS)
        return super().get_context_data(
            **kwargs,
            filter_form=form,
            page=page,
            has_agents=bool(page.object_list) or agents.exists(),
            drafts=list(wizard_drafts(self.caller)[:_SHOWN_DRAFTS]) if may_create else [],
            may_create=may_create,
            query=_query_without_page(self.request),
        )

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show the page; the search as one types asks for the rows alone."""
        if request.headers.get("HX-Target") == "agent-rows":
            self.template_name = "factory/parts/agent_rows.html"
        return super().get(request, *args, **kwargs)


def _query_without_page(request: HttpRequest) -> str:
    query = request.GET.copy()
    query.pop("page", None)
    return query.urlencode()


class DraftDiscardView(PortalMixin):
    """Puts one of one's own drafts away."""

    http_method_names = ["post"]
    required_action = Action.CREATE_AGENTS

    def post(self, request: HttpRequest, draft_id: UUID) -> HttpResponse:
        """Discard the draft."""
        draft = draft_for(self.caller, draft_id)
        archive_draft(caller=self.caller, blueprint=draft)
        messages.success(request, f"The draft “{draft.name or 'unnamed'}” is discarded.")
        return redirect("home")
