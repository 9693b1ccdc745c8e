"""A fleet of each test's own, also with a proxy between its workers and its server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.points import behind
from tests.faults.proxy import Proxy
from tests.integration.conftest import fleet
from tests.integration.fleet import Fleet

__all__ = ["fleet", "proxied"]


@pytest.fixture
def proxied(tmp_path: Path) -> Iterator[tuple[Fleet, Proxy]]:
    """A fleet whose workers reach their server through a proxy; the test itself does not."""
    with Fleet(tmp_path) as fleet, Proxy(fleet.server.url) as proxy:
        behind(fleet, proxy)
        yield fleet, proxy
