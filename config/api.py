"""The API router: which room answers which path. No trailing slashes."""

from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView

from config.health import health, ready

urlpatterns = [
    path("health", health, name="health"),
    path("ready", ready, name="ready"),
    path("api/schema", SpectacularAPIView.as_view(permission_classes=[]), name="schema"),
    path(
        "api/docs",
        SpectacularSwaggerView.as_view(url_name="schema", permission_classes=[]),
        name="api-docs",
    ),
    path("api/auth/", include("accounts.api.urls")),
    path("api/platform/agent-factory/", include("templates_lib.api.urls")),
    path("api/platform/agent-factory/", include("sandbox.api.urls")),
    path("api/platform/agent-factory/", include("provisioning.api.urls")),
    path("api/platform/agent-factory/", include("factory.api.urls")),
    path("api/", include("gateway.api.urls")),
    path("api/", include("factory.api.agent_urls")),
]
