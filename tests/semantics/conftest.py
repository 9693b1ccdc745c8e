"""One server and one fleet for all tests here; a place of its own for each test."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.fleet import Fleet
from tests.semantics import graphs
from tests.semantics.places import Place, apart
from tests.semantics.witness import LONG_S


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A fleet without workers yet: a server."""
    folder = tmp_path_factory.mktemp("semantics")
    with Fleet(folder, module=graphs, names=graphs.NAMES) as fleet:
        yield fleet


@pytest.fixture(scope="session")
def workers(server: Fleet) -> Fleet:
    """The same with workers."""
    server.start_many(1, concurrency=3)
    return server


@pytest.fixture(params=apart())
def kind(request: pytest.FixtureRequest) -> str:
    """Every kind of place; a test that fits some of them only names these as its parameters."""
    return request.param


@pytest.fixture
def place(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Place]:
    """A place."""
    needs = {"redis": "server", "fleet": "workers"}.get(kind)
    made = Place(kind, tmp_path, request.getfixturevalue(needs) if needs else None)
    with made.closing:
        yield made
        assert made.audit() == []


@pytest.fixture
def no_hang() -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < LONG_S
