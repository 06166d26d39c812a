"""Routes under ``/api/auth/``."""

from django.urls import path

from accounts.api.views import TokenRefreshView, TokenRevokeView, TokenView

urlpatterns = [
    path("token", TokenView.as_view(), name="api-token"),
    path("refresh", TokenRefreshView.as_view(), name="api-token-refresh"),
    path("revoke", TokenRevokeView.as_view(), name="api-token-revoke"),
]
