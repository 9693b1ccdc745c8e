"""What would become of stored threads if this code were deployed: found out before it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from orchestrator.checkpointer.base import Checkpointer
from orchestrator.client.compiled import CompiledStateGraph
from orchestrator.engine.compat import mismatch
from orchestrator.engine.rollback import damage_to_state, damage_to_steps
from orchestrator.errors import GraphstalkError, UnknownTypeError
from orchestrator.model.checkpoint import Head
from orchestrator.model.commit import LoadedThread

__all__ = ["Trouble", "check_threads"]


@dataclass(frozen=True, slots=True)
class Trouble:
    """What would keep a thread from going on.

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
    """Look at stored threads with new code, the latest changed first; give one result for each.

    Nothing is changed. Migrations run, since they must not do anything but return a state.

    Args:
        store: where the threads are.
        graphs: the new code, by name.
        limit: how many threads to look at, at most.
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
            return None  # It has ended, and nobody has to know its graph.
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
