"""What people and programs are told while PostgreSQL or Redis is really stopped."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx
import pytest
from django.test import override_settings
from django.urls import path

from config.embedded_process import wait_until
from tests.builders import PASSWORD, make_caller

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.http import HttpRequest, HttpResponse
    from django.test import Client

    from config.embedded_postgres import EmbeddedPostgres
    from config.embedded_redis import EmbeddedRedis
    from tests.running import RunningPlatform

# Waiting for a connection of the database's pool takes ten seconds.
_PATIENT = 60.0


@contextmanager
def stopped(server: EmbeddedPostgres | EmbeddedRedis) -> Iterator[None]:
    server.stop()
    try:
        yield
    finally:
        server.start()


@contextmanager
def signed_in(platform: RunningPlatform) -> Iterator[httpx.Client]:
    caller = make_caller()
    assert caller.user is not None
    with httpx.Client(base_url=platform.url, timeout=_PATIENT, follow_redirects=True) as client:
        answer = sign_in(client, caller.user.username)
        assert (answer.status_code, answer.url.path) == (200, "/")
        yield client


def sign_in(client: httpx.Client, username: str) -> httpx.Response:
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', client.get("/sign-in").text)
    assert token is not None
    form = {"username": username, "password": PASSWORD, "csrfmiddlewaretoken": token[1]}
    return client.post("/sign-in", data=form, headers={"Referer": str(client.base_url)})


def ask(client: httpx.Client, *paths: str) -> list[httpx.Response]:
    with ThreadPoolExecutor(len(paths)) as threads:
        return list(threads.map(client.get, paths))


@pytest.mark.worker
def test_without_postgresql_each_page_and_the_api_say_so_and_come_back(
    platform: RunningPlatform,
) -> None:
    with signed_in(platform) as client:
        with stopped(platform.servers.postgres):
            pages = ask(client, "/", "/deployments", "/account", "/admin/", "/sign-in")
            programs = ask(client, "/api/agents", "/api/auth/me")
            assert httpx.get(f"{platform.url}/health").status_code == 200
        assert wait_until(lambda: client.get("/").status_code == 200, seconds=_PATIENT)
    for page in pages:
        assert (page.status_code, page.headers["Retry-After"]) == (503, "10"), page.url
        assert "can't answer right now" in page.text
        assert page.headers["Content-Type"].startswith("text/html")
    for answer in programs:
        assert answer.status_code == 503, answer.url
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert (answer.json()["code"], answer.json()["status"]) == ("unavailable", 503)


@pytest.mark.worker
def test_after_a_restart_of_postgresql_nobody_meets_an_old_connection(
    platform: RunningPlatform,
) -> None:
    pages = ("/", "/deployments", "/templates", "/account") * 2
    with signed_in(platform) as client:
        ask(client, *pages)
        with stopped(platform.servers.postgres):
            pass
        assert [answer.status_code for answer in ask(client, *pages)] == [200] * len(pages)


@pytest.mark.worker
def test_without_redis_pages_open_and_what_needs_it_says_so(platform: RunningPlatform) -> None:
    with signed_in(platform) as client, stopped(platform.servers.redis):
        shown = ask(client, "/", "/deployments", "/templates", "/account", "/admin/")
        client.cookies.clear()
        refused = sign_in(client, "somebody")
        program = client.post("/api/auth/token", json={"username": "x", "password": "x"})
    assert [answer.status_code for answer in shown] == [200] * len(shown)
    assert "Signing in is not possible right now" in refused.text
    assert program.status_code == 503
    assert program.headers["Content-Type"] == "application/problem+json"
    assert program.json()["code"] == "unavailable"


def _bug(request: HttpRequest) -> HttpResponse:
    raise RuntimeError(f"a bug at {request.path}")


class Buggy:
    handler500 = "config.errors.server_error"
    urlpatterns = (path("page", _bug), path("api/thing", _bug))


def test_a_bug_is_still_a_500_in_the_form_that_fits(client: Client) -> None:
    client.raise_request_exception = False
    with override_settings(ROOT_URLCONF=Buggy, MIDDLEWARE=[]):
        page, program = client.get("/page"), client.get("/api/thing")
    assert (page.status_code, program.status_code) == (500, 500)
    assert "Something went wrong on our side" in page.content.decode()
    assert program.headers["Content-Type"] == "application/problem+json"
    assert program.json()["code"] == "internal_error"
    assert "a bug" not in program.content.decode()
