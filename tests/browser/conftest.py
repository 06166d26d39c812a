"""Chromium, and people who sign in with it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

    from tests.browser.driving import Person
    from tests.running import RunningPlatform


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The browser, for one module: asyncio tests cannot run beside Playwright's event loop."""
    # Imported late, here and below: Django is set up after this file is read.
    from tests.browser.driving import CHROMIUM, FLAGS

    with sync_playwright() as playwright:
        # Playwright keeps an event loop in this thread, beside which Django refuses its ORM.
        before = os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE")
        os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()
        if before is None:
            del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture
def person(chromium: Browser, platform: RunningPlatform) -> Iterator[Person]:
    """An admin of an organisation of their own, signed in, at a wide light screen."""
    from tests.browser.driving import Person
    from tests.builders import make_caller

    caller = make_caller("admin")
    found = Person(chromium, platform.url, caller)
    found.sign_in()
    yield found
    found.leave()
