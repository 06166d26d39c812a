"""Routes under ``/api/platform/agent-factory/``."""

from django.urls import path

from factory.api.views import (
    CostEstimateView,
    CreateAgentView,
    EstimateCostView,
    StartTestView,
    ValidateView,
)

urlpatterns = [
    path("validate", ValidateView.as_view(), name="api-validate"),
    path("estimate-cost", EstimateCostView.as_view(), name="api-estimate-cost"),
    path("cost-estimate", CostEstimateView.as_view(), name="api-cost-estimate"),
    path("test", StartTestView.as_view(), name="api-test"),
    path("agents", CreateAgentView.as_view(), name="api-create-agent"),
]
