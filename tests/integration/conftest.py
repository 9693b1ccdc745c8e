"""A fleet of each test's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.fleet import Fleet


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """Servers and workers that live as long as the test."""
    with Fleet(tmp_path) as fleet:
        yield fleet


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A fleet with one worker for the tests of a module; each uses threads of its own names."""
    with Fleet(tmp_path_factory.mktemp("fleet")) as fleet:
        fleet.start(concurrency=2)
        yield fleet
