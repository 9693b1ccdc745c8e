"""Gathers what there is to know of a thread, to say what it waits for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from orchestrator.checkpointer.redis.rollback_guard import halted_at
from orchestrator.checkpointer.redis.store import RedisCheckpointer
from orchestrator.checkpointer.redis.workers import Fleet
from orchestrator.client.explaining import Claimed, Explanation, Facts, Station, explain
from orchestrator.engine.records import Records
from orchestrator.engine.resume import missing
from orchestrator.engine.settle import IN_SUBGRAPH
from orchestrator.graph.spec import GraphSpec
from orchestrator.ids import child_thread, root_thread
from orchestrator.model.commit import Event, LoadedStep, LoadedThread, Wait

__all__ = ["Inquiry"]

_EVENTS_MAX = 1000  # Of the end of the log.


@dataclass(frozen=True, slots=True)
class Inquiry:
    """Inquires into the threads of a deployment.

    Attributes:
        store: where they are.
        known: returns what this process knows of a thread's graph, and how to read its records.
    """

    store: RedisCheckpointer
    known: Callable[[LoadedThread], tuple[GraphSpec | None, Records]]

    def explanation(self, thread_id: str, run_id: str = "") -> Explanation:
        """Return what a thread waits for; see `Client.explain`."""
        loaded = self.store.load(thread_id, values=False)
        if loaded is None:
            raise missing(thread_id)
        spec, records = self.known(loaded)
        claimed = {s.step.step_id: s.owner for s in loaded.steps.values() if s.owner}
        fleet = Fleet(self.store)
        held = fleet.held(thread_id, claimed) if claimed else {}
        facts = Facts(
            thread_id=thread_id,
            loaded=loaded,
            records=records,
            lease_ms=int(self.store.settings.lease_ttl_s * 1000),
            claims={id_: Claimed(h.since_ms, h.lease_ends_ms) for id_, h in held.items()},
            halted=str(halted_at(self.store, thread_id) or ""),
            workers=[Station(worker.queues, worker.graphs) for worker in fleet.workers()],
            events=self._events(thread_id, loaded),
            attempts_max=dict(_attempts(spec)) if spec else {},
            children=dict(self._children(thread_id, loaded)),
        )
        return explain(facts, run_id)

    def _events(self, thread_id: str, loaded: LoadedThread) -> Sequence[Event]:
        """Return the end of the log in which a thread's events are, newest first."""
        root, ns = root_thread(thread_id)
        outer = self.store.load(root, values=False) if ns else loaded
        last = outer.seq if outer else 0
        after = max(0, last - _EVENTS_MAX)
        return self.store.events(root, after=after, limit=_EVENTS_MAX)[::-1]

    def _children(self, thread_id: str, loaded: LoadedThread) -> Iterator[tuple[str, Explanation]]:
        root, ns = root_thread(thread_id)
        for step in loaded.steps.values():
            if not _runs_subgraph(step):
                continue
            own = f"{step.step.node}:{step.step.step_id}"
            child = child_thread(root, f"{ns}|{own}" if ns else own)
            if self.store.load(child, values=False) is not None:
                yield step.step.step_id, self.explanation(child)


def _runs_subgraph(step: LoadedStep) -> bool:
    return step.wait is Wait.TIMER and step.reason == IN_SUBGRAPH


def _attempts(spec: GraphSpec) -> Iterator[tuple[str, int]]:
    """Yield how often the steps of each node are tried."""
    for name, node in spec.nodes.items():
        if node.options.retry:
            yield name, max(policy.max_attempts for policy in node.options.retry)
