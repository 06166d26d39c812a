"""What the sandbox's tests share: the library and the runtimes.

Imports of the product stand in the fixtures: this is read before there are settings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_django import Settings

    from accounts.callers import Caller
    from provisioning.drivers.base import RuntimeDriver
    from templates_lib.definition import TemplateDefinition


@pytest.fixture
def operator(transactional_db: None) -> Caller:
    """Somebody who may make and deploy agents, with the templates published."""
    from accounts.roles import Role
    from templates_lib.services import load_library
    from tests.builders import make_caller

    load_library()
    return make_caller(Role.OPERATOR)


@pytest.fixture
def memory_agent(operator: Caller) -> TemplateDefinition:
    """The Memory Agent's template."""
    from templates_lib.services import definition_of, template_for

    return definition_of(template_for("memory-agent")[1])


def _runtime(name: str, settings: Settings) -> Iterator[RuntimeDriver]:
    from provisioning.drivers import get_driver
    from tests.sandbox.traces import clear

    settings.RUNTIME_DRIVER = name
    driver = get_driver(name)
    yield driver
    clear(driver)


@pytest.fixture(params=["process", pytest.param("docker", marks=pytest.mark.docker)])
def driver(request: pytest.FixtureRequest, settings: Settings) -> Iterator[RuntimeDriver]:
    """Each runtime in turn; whatever a test leaves of sandboxes is removed after it."""
    yield from _runtime(request.param, settings)


@pytest.fixture
def process(settings: Settings) -> Iterator[RuntimeDriver]:
    """The process runtime alone, for what does not depend on the runtime."""
    yield from _runtime("process", settings)
