"""Routes of the operator's pages."""

from django.urls import path

from factory.views.agent_insight import AgentFiguresView, AgentLogsView
from factory.views.agents import AgentActionView, AgentTryView, AgentView
from factory.views.deployments import DeploymentListView, DeploymentView
from factory.views.home import DraftDiscardView, HomeView
from factory.views.templates import TemplateDetailView, TemplateListView
from factory.wizard.live import SchemaCheckView, WizardLiveView
from factory.wizard.views import AgentWizardView, WizardStartView

_wizard = AgentWizardView.as_view(url_name="wizard-step")
_live = WizardLiveView.as_view(url_name="wizard-step")

urlpatterns = [
    path("", HomeView.as_view(), name="home"),
    path("agents/new", WizardStartView.as_view(), name="wizard-start"),
    path("agents/new/schema", SchemaCheckView.as_view(), name="wizard-schema"),
    path("agents/new/<uuid:draft_id>", _wizard, name="wizard"),
    path("agents/new/<uuid:draft_id>/discard", DraftDiscardView.as_view(), name="draft-discard"),
    path("agents/new/<uuid:draft_id>/live/<slug:fragment>", _live, name="wizard-live"),
    path("agents/new/<uuid:draft_id>/<slug:step>", _wizard, name="wizard-step"),
    path("agents/<str:agent_id>", AgentView.as_view(), name="agent"),
    path("agents/<str:agent_id>/figures", AgentFiguresView.as_view(), name="agent-figures"),
    path("agents/<str:agent_id>/logs", AgentLogsView.as_view(), name="agent-logs"),
    path("agents/<str:agent_id>/do", AgentActionView.as_view(), name="agent-do"),
    path("agents/<str:agent_id>/try/<str:capability>", AgentTryView.as_view(), name="agent-try"),
    path("deployments", DeploymentListView.as_view(), name="deployments"),
    path("deployments/<uuid:deployment_id>", DeploymentView.as_view(), name="deployment"),
    path("templates", TemplateListView.as_view(), name="templates"),
    path("templates/<slug:slug>", TemplateDetailView.as_view(), name="template"),
]
