"""Fixtures shared by all rooms.

The servers are started before Django's settings are read, for the settings read the addresses
from the environment. With xdist each worker has servers of its own.
"""

from __future__ import annotations

import inspect
import os
import shutil
from typing import TYPE_CHECKING

import pytest
from asgiref.sync import SyncToAsync

from tests.running import RunningPlatform, start_platform
from tests.services import TestServices

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from pytest_django import DjangoDbBlocker

    from config.embedded import EmbeddedServers

_SERVICES = pytest.StashKey[TestServices]()


# What the settings need where no test runs: there is nothing at these addresses.
_UNUSED = {
    "DATABASE_URL": "postgresql://unused@127.0.0.1:1/unused",
    "AGENT_DATABASE_URL": "postgresql://unused@127.0.0.1:1/unused",
    "REDIS_URL": "redis://127.0.0.1:1/0",
    "SECRET_KEY": "unused",
    "SECRETS_KEYS": "unused",
}
_SETTINGS_NAME = "DJANGO_SETTINGS_MODULE"


# --- Services ---------------------------------------------------------------------------------


def pytest_configure(config: pytest.Config) -> None:
    """Start the servers, unless this process only hands tests out to others."""
    hands_out = getattr(config.option, "numprocesses", None) and not hasattr(config, "workerinput")
    if config.option.collectonly or hands_out:
        for name, value in _UNUSED.items():
            os.environ.setdefault(name, value)
        os.environ[_SETTINGS_NAME] = "config.settings.test"
    else:
        services = TestServices()
        config.stash[_SERVICES] = services
        config.add_cleanup(services.stop)
        services.start()
    # pytest-django sets Django up after this, and only when the settings were read.
    from django.conf import settings

    _ = settings.DATABASES


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    """Keep the addresses of nothing from the processes that will run the tests.

    They inherit the environment, and would read the settings before their servers are there.
    """
    os.environ.pop(_SETTINGS_NAME, None)
    for name, value in _UNUSED.items():
        if os.environ.get(name) == value:
            del os.environ[name]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
    call: pytest.CallInfo[None],
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure where everything has to be there (REQUIRE_ALL=1)."""
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Do the same for a whole module that skips itself."""
    report = yield
    _refuse_skip(report)
    return report


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if os.environ.get("REQUIRE_ALL") == "1" and report.outcome == "skipped":
        if hasattr(report, "wasxfail"):
            return
        report.outcome = "failed"
        report.longrepr = f"Skipped although REQUIRE_ALL=1: {report.longrepr}"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what this machine has no part for, saying which part."""
    if item.get_closest_marker("docker") and item.config.stash[_SERVICES].docker is None:
        pytest.skip("no Docker engine answers: install docker.io and start dockerd")
    if item.get_closest_marker("browser") and not shutil.which("chromium"):
        pytest.skip("no Chromium: install the package chromium")


@pytest.fixture(scope="session")
def services(pytestconfig: pytest.Config) -> TestServices:
    """The servers, networks and environment of this test process."""
    return pytestconfig.stash[_SERVICES]


@pytest.fixture(scope="session")
def servers(services: TestServices) -> EmbeddedServers:
    """The embedded servers; a test that stops one must start it again."""
    return services.servers


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, services: TestServices) -> Iterator[None]:
    """Make the test databases; end who is still connected before they are dropped."""
    del django_db_setup
    yield
    with services.servers.postgres.connect() as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname LIKE 'test\\_%'"
        )


@pytest.fixture(autouse=True)
def no_connection_left_in_a_thread(request: pytest.FixtureRequest) -> Iterator[None]:
    """Close the connection of the thread that does the synchronous work of asynchronous tests.

    Channels' test tools keep it open, and other tests restart the server.
    """
    yield
    if inspect.iscoroutinefunction(request.function):
        from django.db import connections

        # Each thread has its own.
        SyncToAsync.single_thread_executor.submit(connections.close_all).result()


@pytest.fixture(scope="session")
def running_platform(
    services: TestServices,
    django_db_blocker: DjangoDbBlocker,
) -> Iterator[RunningPlatform]:
    """The platform's processes, started once; use `platform` in tests."""
    with django_db_blocker.unblock():
        running = start_platform(services)
    yield running
    running.stop_all()


@pytest.fixture
def platform(
    running_platform: RunningPlatform, django_db_blocker: DjangoDbBlocker
) -> Iterator[RunningPlatform]:
    """The platform, running, with the ORM on its database.

    Rows stay from test to test: make an organisation of your own and look at nothing else. Do not
    use `db` beside it. What a test stops or kills runs again in the next.
    """
    running_platform.ensure_running()
    with django_db_blocker.unblock(), running_platform.models():
        yield running_platform
