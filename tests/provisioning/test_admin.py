"""Deployments in the admin: seen, never edited."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from provisioning.models import Deployment, DeploymentStep
from tests.builders import make_user
from tests.provisioning.saga import make_deployment

if TYPE_CHECKING:
    from django.test import Client

pytestmark = pytest.mark.django_db


def test_an_admin_sees_everything_and_changes_nothing(client: Client) -> None:
    _, deployment = make_deployment()
    step = DeploymentStep.objects.get(name="build_image")
    client.force_login(make_user(is_staff=True, is_superuser=True))
    for kind, row in (("deployment", deployment), ("deploymentstep", step)):
        path = f"/admin/provisioning/{kind}/"
        assert client.get(path).status_code == 200
        page = client.get(f"{path}{row.pk}/change/")
        assert page.status_code == 200
        text = page.content.decode()
        assert "build_image" in text
        assert 'name="status"' not in text
        assert 'name="_save"' not in text
        assert client.post(f"{path}{row.pk}/change/", {"status": "running"}).status_code == 403
        assert client.post(f"{path}{row.pk}/delete/", {"post": "yes"}).status_code == 403
        assert client.get(f"{path}add/").status_code == 403
    assert Deployment.objects.get().status == "pending"
    assert DeploymentStep.objects.get(name="build_image").status == "pending"
