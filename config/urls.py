"""Root URLs."""

from django.contrib import admin
from django.urls import include, path

handler500 = "config.errors.server_error"

urlpatterns = [
    path("admin/", admin.site.urls),
    path("", include("accounts.urls")),
    path("", include("config.api")),
    path("", include("factory.urls")),
]
