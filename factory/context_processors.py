"""What every page of the portal is given beside its own context."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.templatetags.static import static
from django.utils.functional import SimpleLazyObject
from unfold.settings import get_config

from factory.navigation import PortalNavigation


def portal(request: HttpRequest) -> dict[str, Any]:
    """Give the shared shell its look, the navigation and the runtime's isolation.

    The theme's own pages set these names themselves, so this only fills the portal's. What costs a
    query is lazy: a page that does not show it does not pay for it.
    """
    config = get_config("UNFOLD")
    return {
        "colors": config["COLORS"],
        "border_radius": config.get("BORDER_RADIUS"),
        "styles": [static("factory/portal.css")],
        "site_title": config["SITE_TITLE"],
        "site_symbol": config["SITE_SYMBOL"],
        "portal": SimpleLazyObject(lambda: PortalNavigation(request)),
        "runtime_isolated": settings.RUNTIME_DRIVER != "process",
    }
