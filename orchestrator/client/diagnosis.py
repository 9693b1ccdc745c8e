"""Diagnosis of stored threads: why one waits, and which ones new code could not continue."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.checkpointer.base import Checkpointer
from orchestrator.checkpointer.fleet import SharedCheckpointer
from orchestrator.client.graph import CompiledStateGraph
from orchestrator.client.snapshot import namespace_below
from orchestrator.engine.compat import mismatch
from orchestrator.engine.explain import Claimed, Explanation, Facts, Station, explain
from orchestrator.engine.records import Records
from orchestrator.engine.resume import missing
from orchestrator.engine.rollback import damage_to_state, damage_to_steps
from orchestrator.engine.settle import IN_SUBGRAPH
from orchestrator.errors import GraphstalkError, UnknownTypeError
from orchestrator.graph.spec import GraphSpec
from orchestrator.ids import child_thread, root_thread
from orchestrator.model.checkpoint import Head
from orchestrator.model.commit import Event, LoadedStep, LoadedThread, Wait

_EVENTS_MAX = 1000  # Of the end of the log.


@dataclass(frozen=True, slots=True)
class Inquiry:
    """Inquires into the threads of a deployment.

    Attributes:
        store: where they are.
        known: returns what this process knows of a thread's graph, and how to read its records.
    """

    store: SharedCheckpointer
    known: Callable[[LoadedThread], tuple[GraphSpec | None, Records]]

    def explanation(self, thread_id: str, run_id: str = "") -> Explanation:
        """Return what a thread waits for; see `Client.explain`."""
        loaded = self.store.load(thread_id, values=False)
        if loaded is None:
            raise missing(thread_id)
        spec, records = self.known(loaded)
        claimed = {s.step.step_id: s.owner for s in loaded.steps.values() if s.owner}
        fleet = self.store.fleet
        held = fleet.claim_times(thread_id, claimed) if claimed else {}
        facts = Facts(
            thread_id=thread_id,
            loaded=loaded,
            records=records,
            lease_ms=int(self.store.settings.lease_ttl_s * 1000),
            claims={id_: Claimed(h.since_ms, h.lease_ends_ms) for id_, h in held.items()},
            halted=str(fleet.halted_at(thread_id) or ""),
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
        for step in loaded.steps.values():
            if not _runs_subgraph(step):
                continue
            ns = namespace_below(thread_id, step.step.node, step.step.step_id)
            child = child_thread(root_thread(thread_id)[0], ns)
            if self.store.load(child, values=False) is not None:
                yield step.step.step_id, self.explanation(child)


def _runs_subgraph(step: LoadedStep) -> bool:
    return step.wait is Wait.TIMER and step.reason == IN_SUBGRAPH


def _attempts(spec: GraphSpec) -> Iterator[tuple[str, int]]:
    """Yield how often the steps of each node are tried."""
    for name, node in spec.nodes.items():
        if node.options.retry:
            yield name, max(policy.max_attempts for policy in node.options.retry)


@dataclass(frozen=True, slots=True)
class Trouble:
    """A fault that would keep a thread from continuing.

    Attributes:
        thread_id: the thread.
        graph: the name of its graph.
        code: a stable name of what is wrong: `WOULD_STALL`, `MIGRATION_FAILS`, `DOES_NOT_DECODE`,
            `DOES_NOT_FIT`, `DAMAGED`, `UNKNOWN_GRAPH`.
        why: what is wrong, and what to do.
    """

    thread_id: str
    graph: str
    code: str
    why: str


def check_threads(
    store: Checkpointer, graphs: Mapping[str, CompiledStateGraph], *, limit: int
) -> Iterator[Trouble | None]:
    """Check stored threads against new code, the latest changed first; yield a result for each.

    Nothing is changed. Migrations run, since they must not do anything but return a state.

    Args:
        store: where the threads are.
        graphs: the new code, by name.
        limit: how many threads to check, at most.
    """
    for thread_id, head in store.threads(limit=limit):
        try:
            yield _checked(store, graphs, thread_id, head)
        except UnknownTypeError as error:
            yield Trouble(thread_id, head.graph, "DOES_NOT_DECODE", str(error))
        except GraphstalkError as error:
            yield Trouble(thread_id, head.graph, "DAMAGED", str(error))


def _checked(
    store: Checkpointer, graphs: Mapping[str, CompiledStateGraph], thread_id: str, head: Head
) -> Trouble | None:
    loaded = store.load(thread_id)
    if loaded is None:
        return None  # It went away meanwhile.
    graph = graphs.get(head.graph)
    waits = [step.step for step in loaded.steps.values() if not step.completed]
    if graph is None:
        if not waits:
            return None  # It has ended, so no process needs its graph.
        known = ", ".join(sorted(graphs)) or "none"
        why = f"no graph {head.graph!r} among those given ({known}), and steps of it are left"
        return Trouble(thread_id, head.graph, "UNKNOWN_GRAPH", why)
    code, why = _trouble(graph, loaded)
    return Trouble(thread_id, head.graph, code, why) if code else None


def _trouble(graph: CompiledStateGraph, loaded: LoadedThread) -> tuple[str, str]:
    records, spec = graph.records, graph.spec
    damage = damage_to_state(records, loaded) or damage_to_steps(loaded)
    if damage:
        return "DAMAGED", damage
    checkpoint = records.checkpoint(loaded.checkpoint.header, loaded.checkpoint.plan)
    left = [s.step for s in loaded.steps.values() if not s.completed]
    nodes = [records.step(step).node for step in left]
    stalls = mismatch(spec, loaded.head, checkpoint, nodes) if nodes else ""
    if stalls:
        return "WOULD_STALL", stalls
    try:
        values = records.values(checkpoint, loaded.blobs)
    except Exception as error:  # noqa: BLE001 - whatever a migration raises is the finding
        version = checkpoint.state_version
        return "MIGRATION_FAILS", f"from version {version}: {type(error).__name__}: {error}"
    try:
        seen = dict(values)
    except GraphstalkError as error:
        return "DOES_NOT_DECODE", str(error)
    for node in dict.fromkeys(nodes):
        reader = spec.nodes[node].reader
        try:
            reader.coerce({key: seen[key] for key in reader.keys if key in seen})
        except (TypeError, ValueError) as error:
            return "DOES_NOT_FIT", f"the state does not fit what {node!r} takes: {error}"
    return "", ""
