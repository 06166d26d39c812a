"""Routes of the sandbox under ``/api/platform/agent-factory/``."""

from django.urls import path

from sandbox.api.views import TestCancelView, TestResultsView

urlpatterns = [
    path("test/<uuid:test_id>/results", TestResultsView.as_view(), name="sandbox-test-results"),
    path("test/<uuid:test_id>/cancel", TestCancelView.as_view(), name="sandbox-test-cancel"),
]
