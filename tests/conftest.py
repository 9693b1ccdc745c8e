"""A real server for the tests that need one, and a deployment of its own for each of them."""

import os
import uuid
from types import SimpleNamespace

import pytest
import redis
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from orchestrator import limits
from orchestrator.cli.embedded import EmbeddedServer, ServerNotFoundError, find_server
from orchestrator.config import Settings
from orchestrator.testing.manual_clock import ManualClock

_SERVER = "redis_url"  # Whoever asks for this fixture, itself or through others, needs a server.

# How fast examples are drawn and run shows the load of the machine, and nothing that is tested.
hypothesis_settings.register_profile(
    "any load", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("any load")


def pytest_addoption(parser):
    parser.addoption(
        "--dispatch",
        choices=("queue", "inline"),
        default="queue",
        help="how the workers of the tests get to the next step, where a graph does not say",
    )


def pytest_configure(config):
    os.environ["TEST_DISPATCH"] = config.getoption("--dispatch")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if _SERVER in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.server)


@pytest.fixture(scope="session", autouse=True)
def _state_folder(tmp_path_factory):
    """Let no worker of a test remember servers in the home of whoever runs it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRAPHSTALK_STATE_DIR", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory):
    """The address of a server: that of `REDIS_URL`, or one that lives as long as the session.

    Without any the tests are skipped at home; where `CI` is set, they fail.
    """
    try:
        found = find_server()
    except ServerNotFoundError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    if found.url is not None:
        yield found.url
        return
    with EmbeddedServer(tmp_path_factory.mktemp("server"), binary=found.binary) as server:
        yield server.url


@pytest.fixture
def fake_clock(monkeypatch):
    """The time of the test, which a fake server asks for, too."""
    from fakeredis.commands_mixins import server_mixin

    clock = ManualClock()
    time = SimpleNamespace(time=lambda: clock.now_ms() / 1000)
    monkeypatch.setattr(server_mixin, "time", time)
    return clock


@pytest.fixture
def small_tails(monkeypatch):
    """Small lists are stored by their tails, too, as long ones are; some are still stored anew.

    On Redis some of that is compressed, too.
    """
    monkeypatch.setattr(limits, "LIST_WHOLE_BYTES_MAX", 4)
    monkeypatch.setattr(limits, "TAIL_BYTES_MIN", 2)
    monkeypatch.setattr(limits, "COMPRESSED_BYTES_MIN", 48)
    monkeypatch.setattr(limits, "NAMED_BYTES_MIN", 3)


@pytest.fixture(scope="session")
def redis_client(redis_url):
    """A client for looking behind what is tested."""
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def namespace(redis_client):
    """A prefix of keys that no other test uses; what bears it is removed after the test."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    yield name
    keys = list(redis_client.scan_iter(f"{name}*", count=1000))
    for start in range(0, len(keys), 1000):
        redis_client.unlink(*keys[start : start + 1000])


@pytest.fixture
def settings(redis_url, namespace):
    """A deployment of the test's own: its keys and its default queue share the namespace."""
    return Settings(
        url=redis_url, broker_url=redis_url, namespace=namespace, queue=f"{namespace}-queue"
    )
