"""A TCP proxy between workers and their server: it cuts, refuses, swallows, slows, and holds.

Rule 1: what it has swallowed is gone, and so is the connection: nothing passes it any more, though
        it stays open. Connections made afterwards are in order.
Rule 2: it knows a script's call by its hash, and holds the call or its answer for a trap: whoever
        asked stands still at that point of its work until the trap is sprung.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Self

__all__ = ["Link", "Proxy", "Trap"]

HOST = "127.0.0.1"
CHUNK_BYTES = 65_536
HOLD_S = 60.0  # A test that forgot its trap fails; it does not hang.
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with a reset, as a peer that has died does.

Side = Literal["call", "answer"]


@dataclass(slots=True)
class Trap:
    """Holds the next call of a script that has all these marks, or the answer to it."""

    script: str  # Its hash.
    side: Side
    marks: tuple[bytes, ...]
    link: Link | None = None  # Who is held.
    _caught: threading.Event = field(default_factory=threading.Event)
    _sprung: threading.Event = field(default_factory=threading.Event)
    _answered: threading.Event = field(default_factory=threading.Event)
    _lost: bool = False
    _answer: bytes = b""

    def matches(self, data: bytes) -> bool:
        """Whether this is the call that the trap waits for."""
        return self.script.encode() in data and all(mark in data for mark in self.marks)

    def hold(self, link: Link) -> bool:
        """Hold a connection until the trap is sprung; return whether its bytes go on."""
        self.link = link
        self._caught.set()
        assert self._sprung.wait(HOLD_S), "nobody has sprung the trap"
        return not self._lost

    def wait(self) -> int:
        """Wait until somebody is caught; return the port from which it speaks."""
        assert self._caught.wait(HOLD_S), "nobody came into the trap"
        assert self.link is not None
        return self.link.port

    def answer(self) -> bytes:
        """Wait for the server's answer to a call that was held; return how it begins."""
        assert self._answered.wait(HOLD_S), "the server has not answered"
        return self._answer

    def note(self, data: bytes) -> None:
        """Take note of what the server answers."""
        self._answer = data
        self._answered.set()

    def deliver(self) -> None:
        """Let what is held go on its way, however late."""
        self._sprung.set()

    def lose(self) -> None:
        """Lose what is held, with its connection."""
        self._lost = True
        self._sprung.set()


class Proxy:
    """Listens on a port of its own for as long as the context lasts."""

    def __init__(self, url: str) -> None:
        """Pass everything on to the server at `url`."""
        self._url, self._target = url, int(url.rsplit(":", 1)[1].partition("/")[0])
        self._traps: list[Trap] = []
        self._links: set[Link] = set()
        self._lock = threading.Lock()
        self._refuses = self._swallows = False
        self._delay_s = 0.0
        self._bytes_per_s = 0.0
        self.sent_bytes = 0  # By all that call.
        self._listener: socket.socket | None = None

    def __enter__(self) -> Self:
        """Begin to listen."""
        self._listen(0)
        assert self._listener is not None
        self.port: int = self._listener.getsockname()[1]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close everything."""
        for trap in self._traps:
            trap.lose()
        self._close_listener()
        self.cut()

    @property
    def url(self) -> str:
        """The address to give to workers, instead of the server's own."""
        scheme, _, rest = self._url.rpartition(":")
        return f"{scheme}:{self.port}{''.join(rest.partition('/')[1:])}"

    # ---- faults -----------------------------------------------------------------------------

    def cut(self) -> None:
        """Reset every connection there is."""
        with self._lock:
            links = list(self._links)
        for link in links:
            link.close()

    def lead_to(self, url: str) -> None:
        """Connect later clients to another server; open connections stay."""
        self._target = int(url.rsplit(":", 1)[1].partition("/")[0])

    @contextlib.contextmanager
    def refusing(self) -> Iterator[None]:
        """Reset every connection, and refuse new ones meanwhile."""
        self._close_listener()
        self.cut()
        try:
            yield
        finally:
            self._listen(self.port)

    @contextlib.contextmanager
    def swallowing(self) -> Iterator[None]:
        """Let what is sent vanish meanwhile: the connections stay open, and nothing comes back."""
        self._swallows = True
        self.swallow()
        try:
            yield
        finally:
            self._swallows = False

    def swallow(self) -> None:
        """Let what is sent on these connections vanish for ever; later ones are in order."""
        with self._lock:
            for link in self._links:
                link.swallows = True

    @contextlib.contextmanager
    def slow(self, seconds: float) -> Iterator[None]:
        """Pass everything on later by this time meanwhile, each way."""
        self._delay_s = seconds
        try:
            yield
        finally:
            self._delay_s = 0.0

    @contextlib.contextmanager
    def throttled(self, bytes_per_s: float) -> Iterator[None]:
        """Pass on what is called no faster than this meanwhile."""
        self._bytes_per_s = bytes_per_s
        try:
            yield
        finally:
            self._bytes_per_s = 0.0

    def trap(self, script: str, side: Side, *marks: str) -> Trap:
        """Lay a trap for the next call of a script with these marks in it."""
        trap = Trap(script, side, tuple(mark.encode() for mark in marks))
        with self._lock:
            self._traps.append(trap)
        return trap

    # ---- passing on -------------------------------------------------------------------------

    def _listen(self, port: int) -> None:
        self._listener = socket.create_server((HOST, port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _close_listener(self) -> None:
        assert self._listener is not None
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # It wakes `accept`, which closing does not.
        self._listener.close()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, (_, port) = listener.accept()
                try:
                    server = socket.create_connection((HOST, self._target))
                except OSError:
                    reset(client)
                    continue
                link = Link(self, client, server, port, self._swallows)
                with self._lock:
                    self._links.add(link)
                link.start()

    def forget(self, link: Link) -> None:
        """Take note that a connection is closed."""
        with self._lock:
            self._links.discard(link)

    def passes(self, link: Link, side: Side, data: bytes) -> bool:
        """Return whether these bytes go on, once they may."""
        if self._delay_s:
            time.sleep(self._delay_s)
        if side == "call":
            if self._bytes_per_s:
                time.sleep(len(data) / self._bytes_per_s)
            with self._lock:
                self.sent_bytes += len(data)
                link.trap = next((t for t in self._traps if t.matches(data)), None)
                if link.trap is not None:
                    self._traps.remove(link.trap)
        if link.trap is not None and side == "answer":
            link.trap.note(data)
        if link.trap is not None and link.trap.side == side:
            return link.trap.hold(link) and not link.swallows
        return not link.swallows


@dataclass(slots=True, eq=False)
class Link:
    """A client's connection and the one to the server that belongs to it."""

    proxy: Proxy
    client: socket.socket
    server: socket.socket
    port: int  # The client's.
    swallows: bool
    trap: Trap | None = None

    def start(self) -> None:
        """Pass on both ways."""
        for way in (self.client, self.server, "call"), (self.server, self.client, "answer"):
            threading.Thread(target=self._pass, args=way, daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, side: Side) -> None:
        try:
            while data := source.recv(CHUNK_BYTES):
                if self.proxy.passes(self, side, data):
                    sink.sendall(data)
                elif not self.swallows:
                    self.close()
            if not self.swallows:
                sink.shutdown(socket.SHUT_WR)  # The end arrives after what was sent before it.
        except OSError:
            self.close()

    def close(self) -> None:
        """Close both ends at once."""
        self.proxy.forget(self)
        reset(self.client)
        reset(self.server)


def reset(end: socket.socket) -> None:
    """Close a connection with a reset."""
    with contextlib.suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        end.shutdown(socket.SHUT_RDWR)  # It wakes whoever reads.
    end.close()
