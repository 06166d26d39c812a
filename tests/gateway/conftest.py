"""What the gateway's tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.upstream import Upstream

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """A real HTTP server of the test's own."""
    server = Upstream().start()
    yield server
    server.stop()
