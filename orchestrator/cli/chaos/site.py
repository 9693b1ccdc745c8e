"""Where chaos runs: a folder, and a server that is ours to kill, or somebody else's."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from orchestrator.cli.demo import own_namespace
from orchestrator.cli.embedded import EmbeddedServer, find_server
from orchestrator.cli.output import say
from orchestrator.config import without_password

__all__ = ["Site", "site"]

POLL_S = 0.02
BROKER_VARIABLES = ("GRAPHSTALK_BROKER_URL", "CELERY_BROKER_URL")
QUEUE_VARIABLES = ("GRAPHSTALK_NAMESPACE", "GRAPHSTALK_QUEUE")


@dataclass(slots=True)
class Site:
    """A folder and a server."""

    url: str
    folder: Path
    server: EmbeddedServer | None = None  # `None`: the server belongs to somebody else.
    binary: Path | None = None  # Of our server.
    keep: bool = False  # Whether the folder stays when all is over.

    def kill_server(self, away_s: float) -> None:
        """Kill our server, and start it again on the same data and port.

        What a server with `appendfsync everysec` has acknowledged may still be on its way to the
        file when it is killed. That is its promise, not ours to test, so it writes all of it first.
        """
        import redis

        assert self.server is not None
        assert self.server.pid is not None
        with redis.Redis.from_url(self.url) as client:
            client.config_set("appendfsync", "always")
            client.set("graphstalk-chaos", "a write, so that all before it are in the file", px=1)
        os.kill(self.server.pid, signal.SIGKILL)
        while self.server.is_running():
            time.sleep(POLL_S)
        self.server.stop()
        time.sleep(away_s)
        port = urlsplit(self.url).port
        again = EmbeddedServer(self.server.folder.path, port, binary=self.binary)
        again.start()
        self.server = again


@contextlib.contextmanager
def broker_set(url: str | None) -> Iterator[None]:
    """Let messages go through a broker, or through our server, whatever was set."""
    names = [*BROKER_VARIABLES, *QUEUE_VARIABLES]
    before = {name: os.environ[name] for name in names if name in os.environ}
    for name in BROKER_VARIABLES:
        os.environ.pop(name, None)
    if url is not None:
        os.environ[BROKER_VARIABLES[0]] = url
        os.environ.update(dict.fromkeys(QUEUE_VARIABLES, f"chaos-{secrets.token_hex(4)}"))
        say(f"messages go through {without_password(url)}, which is never killed")
    try:
        yield
    finally:
        for name in names:
            os.environ.pop(name, None)
        os.environ.update(before)


@contextlib.contextmanager
def site(url: str | None, broker: str | None = None) -> Iterator[Site]:
    """Have a folder and a server for as long as the context lasts.

    Args:
        url: a server that runs already, of which a namespace and a queue of our own are used;
            `None`: what `REDIS_URL` names, else a server of our own.
        broker: where messages go; `None`: the server of our own, or what the environment names.
    """
    found = find_server({**os.environ, "REDIS_URL": url} if url else None)
    with contextlib.ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="graphstalk-chaos-"))
        if broker is not None or found.url is None:
            stack.enter_context(broker_set(broker))
        if found.url is not None:
            stack.enter_context(own_namespace(found.url, keep=False, prefix="chaos"))
            say("the server is not ours: it is never killed; of workers, only ours are")
            here = Site(found.url, folder)
        else:
            server = EmbeddedServer(folder / "data", binary=found.binary)
            server.start()
            here = Site(server.url, folder, server, found.binary)
            say(f"embedded server ({found.source}) at {server.url}")
        try:
            yield here
        finally:
            if here.server is not None:
                here.server.stop()
            if here.keep:
                say(f"kept: {folder}")
            else:
                shutil.rmtree(folder, ignore_errors=True)
