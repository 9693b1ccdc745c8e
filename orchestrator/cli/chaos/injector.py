"""Doing a fault: to a process of our workers, to our server, to a message of our queue."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from orchestrator.cli.chaos.faults import Fault, Kind

if TYPE_CHECKING:
    from orchestrator.cli.chaos.crew import Crew
    from orchestrator.cli.chaos.site import Site

__all__ = ["Injector", "possible"]

AWAY_MAX_S = 1.5  # How long a server that was killed is away at most.


def possible(site: Site, broker_url: str) -> set[Kind]:
    """Return the faults that can be done here: a server of somebody else is left alone."""
    kinds = set(Kind)
    if site.server is None:
        kinds.remove(Kind.KILL_SERVER)
    if not broker_url.startswith(("redis://", "rediss://")):
        kinds -= {Kind.LOSE_MESSAGE, Kind.DOUBLE_MESSAGE}
    return kinds


class Injector:
    """Does faults, and counts those that found somebody."""

    def __init__(
        self,
        crew: Crew,
        site: Site,
        messages: Any,  # redis-py types what it gives back as if it were decoded.
        queue: str,
        server_ms: Callable[[], float],
    ) -> None:
        """Do nothing yet.

        Args:
            crew: the workers.
            site: the server, if it is ours.
            messages: where the queue is.
            queue: its name.
            server_ms: tells the time of the server that holds the checkpoints.
        """
        self.hits: Counter[Kind] = Counter()
        self._crew, self._site, self._server_ms = crew, site, server_ms
        self._messages, self._queue = messages, queue
        self._how: dict[Kind, Callable[[Fault], str]] = {
            Kind.KILL_PROCESS: self._kill_process,
            Kind.KILL_MAIN: self._kill_main,
            Kind.KILL_KEEPER: self._kill_keeper,
            Kind.KILL_WORKER: self._kill_worker,
            Kind.STOP_PROCESS: self._stop_process,
            Kind.STOP_WORKER: self._stop_worker,
            Kind.RESTART_WORKER: self._restart_worker,
            Kind.KILL_SERVER: self._kill_server,
            Kind.LOSE_MESSAGE: self._lose_message,
            Kind.DOUBLE_MESSAGE: self._double_message,
        }

    def inject(self, fault: Fault) -> str:
        """Do a fault; return what was hit, empty if there is nobody to hit now."""
        hit = self._how[fault.kind](fault)
        if hit:
            self.hits[fault.kind] += 1
        return hit

    def _kill_process(self, fault: Fault) -> str:
        return self._kill(fault, self._crew.pool())

    def _kill_keeper(self, fault: Fault) -> str:
        return self._kill(fault, self._crew.keepers())

    def _kill_main(self, fault: Fault) -> str:
        return self._kill(fault, [child.pid for child in self._crew.workers()])

    def _kill(self, fault: Fault, among: list[int]) -> str:
        if not among:
            return ""
        pid = fault.pick(among)
        self._crew.kill([pid], self._server_ms())
        return f"process {pid}"

    def _kill_worker(self, fault: Fault) -> str:
        workers = self._crew.workers()
        if not workers:
            return ""
        child = fault.pick(workers)
        self._crew.kill_worker(child, self._server_ms())
        return f"{child.name} (process {child.pid} and its children)"

    def _stop_process(self, fault: Fault) -> str:
        pool = self._crew.pool()
        if not pool:
            return ""
        pid = fault.pick(pool)
        self._crew.stop([pid], fault.lasts_s)
        return f"process {pid} for {fault.lasts_s:.1f} s"

    def _stop_worker(self, fault: Fault) -> str:
        workers = self._crew.workers()
        if not workers:
            return ""
        child = fault.pick(workers)
        self._crew.stop(self._crew.members(child), fault.lasts_s)
        return f"{child.name} (process {child.pid} and its children) for {fault.lasts_s:.1f} s"

    def _restart_worker(self, fault: Fault) -> str:
        workers = self._crew.workers()
        if not workers:
            return ""
        child = fault.pick(workers)
        self._crew.replace(child)
        return f"{child.name} (process {child.pid})"

    def _kill_server(self, fault: Fault) -> str:
        away_s = AWAY_MAX_S * fault.choice
        self._site.kill_server(away_s)
        return f"our server, for {away_s:.1f} s"

    def _lose_message(self, fault: Fault) -> str:
        message = self._message(fault)
        if message is None or not self._messages.lrem(self._queue, 1, message):
            return ""
        return "one of the queue"

    def _double_message(self, fault: Fault) -> str:
        message = self._message(fault)
        if message is None:
            return ""
        self._messages.lpush(self._queue, message)
        return "one of the queue"

    def _message(self, fault: Fault) -> bytes | None:
        waiting: list[bytes] = self._messages.lrange(self._queue, 0, -1)
        return fault.pick(waiting) if waiting else None
