"""Routes under ``/api/platform/agent-factory/``."""

from django.urls import path

from templates_lib.api.views import TemplateDetailView, TemplateListView

urlpatterns = [
    path("templates", TemplateListView.as_view(), name="api-templates"),
    path("templates/<str:template_id>", TemplateDetailView.as_view(), name="api-template"),
]
