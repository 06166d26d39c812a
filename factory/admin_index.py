"""The admin's index and sidebar: the product's own things, grouped as people think of them."""

from collections.abc import Mapping
from typing import Any, Final

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse

from factory.navigation import portal_items

# Model → icon, in the order of the index. A model that is in no group comes last, under "More".
_GROUPS: Final[Mapping[str, Mapping[str, str]]] = {
    "Agents and deployments": {
        "registry.Agent": "smart_toy",
        "registry.Release": "deployed_code",
        "provisioning.Deployment": "rocket_launch",
        "provisioning.DeploymentStep": "checklist",
        "factory.Blueprint": "edit_note",
    },
    "Library": {
        "templates_lib.AgentTemplate": "dashboard_customize",
        "templates_lib.TemplateVersion": "history",
        "registry.Tool": "build",
    },
    "Tiers and prices": {
        "factory.Tier": "layers",
        "factory.PriceBook": "payments",
    },
    "People and access": {
        "accounts.Organization": "domain",
        "accounts.User": "person",
        "accounts.ApiToken": "key",
        "registry.Secret": "lock",
    },
    "Records": {
        "ledger.AuditEntry": "policy",
        "ledger.Transition": "swap_horiz",
    },
}
_MORE: Final = "More"


def grouped_models(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the models that the person may see, in the shape of Django's list of apps."""
    left = {
        f"{app['app_label']}.{model['object_name']}": model
        for app in admin.site.get_app_list(request)
        for model in app["models"]
    }
    groups = []
    for title, icons in _GROUPS.items():
        models = [
            left.pop(label) | {"icon": icon} for label, icon in icons.items() if label in left
        ]
        groups.append((title, models))
    groups.append((_MORE, [model | {"icon": "table"} for model in left.values()]))
    return [
        {"name": title, "app_label": "", "app_url": reverse("admin:index"), "models": models}
        for title, models in groups
        if models
    ]


def group_models(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Put the groups in the place of the apps on the index."""
    return context | {"app_list": grouped_models(request)}


def sidebar(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the admin's sidebar, in the theme's own form: the portal, then the groups."""
    portal = [
        {"title": item.title, "icon": item.icon, "link": item.url, "active": False}
        for item in portal_items(request)
    ]
    return [
        {"title": "Portal", "separator": False, "items": portal},
        *(
            {
                "title": group["name"],
                "separator": True,
                "items": [
                    {
                        "title": model["name"],
                        "icon": model["icon"],
                        "link": model["admin_url"],
                        "active": request.path.startswith(model["admin_url"] or "-"),
                    }
                    for model in group["models"]
                ],
            }
            for group in grouped_models(request)
        ),
    ]
