"""A person at a browser."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, TypeVar

from axe_playwright_python.sync_playwright import Axe
from django.db import connection
from playwright.sync_api import ViewportSize, expect

from tests.builders import PASSWORD

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Browser, Page

    from accounts.callers import Caller

T = TypeVar("T")

CHROMIUM: Final = "/usr/bin/chromium"
FLAGS: Final = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
WIDE: Final = ViewportSize(width=1440, height=900)
NARROW: Final = ViewportSize(width=360, height=740)
# Containers are made, so other containers' networks come and go: Chromium then breaks off what it
# is loading, which is not the page's fault.
_NETWORK_CHANGED: Final = "ERR_NETWORK_CHANGED"


def beside(work: Callable[[], T]) -> T:
    """Do ``work`` in a thread: Playwright's event loop in this one stops what announces events."""

    def closing() -> T:
        try:
            return work()
        finally:
            connection.close()

    with ThreadPoolExecutor(max_workers=1) as executor:
        return executor.submit(closing).result()


class Person:
    """Someone signed in, with one tab open. What the browser complains of is kept."""

    def __init__(self, browser: Browser, url: str, caller: Caller) -> None:
        assert caller.user is not None
        self.url = url
        self.caller = caller
        self.username = caller.user.get_username()
        self._context = browser.new_context(viewport=WIDE, color_scheme="light")
        self.page: Page = self._context.new_page()
        self.page.set_default_timeout(30_000)
        self.complaints: list[str] = []
        self.page.on("pageerror", lambda error: self._complain(str(error)))
        self.page.on(
            "console",
            lambda message: self._complain(message.text) if message.type == "error" else None,
        )

    def _complain(self, text: str) -> None:
        self.complaints.append(text)

    def sign_in(self) -> None:
        """Sign in."""
        self.open("/sign-in")
        self.page.get_by_label("Username").fill(self.username)
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.get_by_role("button", name="Sign in").click()
        expect(self.page).to_have_title("Agents | Agent Factory")

    def open(self, path: str) -> Page:
        """Go to a page, again if the machine's networks changed meanwhile."""
        for _ in range(5):
            self.complaints.clear()
            try:
                self.page.goto(self.url + path)
                self.page.wait_for_load_state("networkidle")
            except Exception as error:
                if _NETWORK_CHANGED not in str(error):
                    raise
                continue
            if not any(_NETWORK_CHANGED in text for text in self.complaints):
                break
        return self.page

    def press(self, name: str) -> None:
        """Press a button by its whole name."""
        self.page.get_by_role("button", name=name, exact=True).click()

    def violations(self) -> list[str]:
        """Return what axe finds on the page as it is."""
        found = Axe().run(self.page).response["violations"]
        return [
            f"{item['id']}: {node['target']} {node['failureSummary']}"
            for item in found
            for node in item["nodes"]
        ]

    def serious_complaints(self) -> list[str]:
        """Return what the browser complained of, but for networks that came and went."""
        return [text for text in self.complaints if _NETWORK_CHANGED not in text]

    def leave(self) -> None:
        """Close the tab."""
        self._context.close()
