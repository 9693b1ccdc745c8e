"""How far a thread is with the nodes of its graph, for a drawing.

Rule 1: only the thread's latest run is read: from its input to where it is now.
Rule 2: no values are loaded, and no more than a bounded number of checkpoints.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass

from orchestrator.client.graph_base import GraphBase
from orchestrator.client.snapshot import child_namespace
from orchestrator.drawing import NodeState
from orchestrator.graph.routing import END
from orchestrator.graph.spec import GraphSpec
from orchestrator.ids import child_thread, root_thread
from orchestrator.model.checkpoint import Checkpoint, PlannedStep, RunStatus
from orchestrator.model.commit import LoadedStep, LoadedThread, Wait

_SUPERSTEPS_MAX = 250  # How far back a run is read; older steps are drawn as not yet run.
_CHILDREN_MAX = 20  # How many runs of one subgraph are read, if many `Send`s lead there.
# Of several steps of a node, the picture shows the most urgent state.
_ORDER: tuple[NodeState, ...] = ("failed", "paused", "running", "next", "done")


def node_states(
    graph: GraphBase,
    thread_id: str,
    checkpoint_id: int | None,
    opened: Container[str] = (),
) -> dict[str, NodeState]:
    """Return the states of the nodes that have one, by the ids under which they are drawn.

    Args:
        graph: the graph of the root thread.
        thread_id: the thread, or that of a subgraph.
        checkpoint_id: shows the thread as it was then.
        opened: the subgraphs whose nodes are drawn, by id.
    """
    inner = graph.graph_of(root_thread(thread_id)[1])
    return (
        _Progress(graph, opened).states(thread_id, checkpoint_id, inner.spec, "") if inner else {}
    )


@dataclass(frozen=True, slots=True)
class _Progress:
    graph: GraphBase
    opened: Container[str]

    def states(
        self, thread_id: str, checkpoint_id: int | None, spec: GraphSpec, prefix: str
    ) -> dict[str, NodeState]:
        """Return the states of a thread's nodes, and of those below; ids begin with `prefix`."""
        found = self._load(thread_id, checkpoint_id)
        if found is None:
            return {}
        loaded, checkpoint = found
        latest = checkpoint.id == loaded.head.checkpoint_id
        steps: dict[str, list[tuple[NodeState, str]]] = {}  # Node → its steps and their children.
        for step in checkpoint.plan:
            state = _state(loaded, checkpoint, step) if latest else "next"
            child = self._child(thread_id, checkpoint, step, spec)
            steps.setdefault(step.node, []).append((state, child))
        for planned, writers in self._earlier(thread_id, checkpoint, spec, steps):
            for writer in writers:
                own = [step for step in planned.plan if step.node == writer]
                children = [self._child(thread_id, planned, step, spec) for step in own]
                steps[writer] = [("done", child) for child in children] or [("done", "")]
        states: dict[str, NodeState] = {}
        for node, each in steps.items():
            key = prefix + spec.shown(node)
            states[key] = _first(state for state, _ in each)
            if key in self.opened:
                self._inside(states, spec.nodes[node].subgraph, each, key)
        if latest and loaded.head.status is RunStatus.SUCCEEDED:
            states[prefix + END] = "done"
        return states

    def _earlier(
        self, thread_id: str, checkpoint: Checkpoint, spec: GraphSpec, known: Container[str]
    ) -> Iterator[tuple[Checkpoint, list[str]]]:
        """Iterate over a run's checkpoints, newest first, with the nodes that ran after them.

        Only nodes that were not `known` are yielded; it ends when all of them are known.
        """
        for _ in range(_SUPERSTEPS_MAX):
            over = checkpoint.source == "input" or checkpoint.parent is None
            if over or all(node in known for node in spec.nodes):
                return
            found = self._load(thread_id, checkpoint.parent)
            if found is None:
                return
            writers = [n for n in checkpoint.writers if n in spec.nodes and n not in known]
            yield found[1], writers
            checkpoint = found[1]

    def _inside(
        self,
        states: dict[str, NodeState],
        subgraph: object,
        steps: Iterable[tuple[NodeState, str]],
        key: str,
    ) -> None:
        """Add the states of a subgraph's nodes, from the steps that ran or run it."""
        spec = getattr(subgraph, "spec", None)
        if not isinstance(spec, GraphSpec):
            return
        ordered = sorted(steps, key=lambda step: _ORDER.index(step[0]))
        for _, child in ordered[:_CHILDREN_MAX]:
            if child:
                for name, state in self.states(child, None, spec, f"{key}:").items():
                    states[name] = _first((state, states.get(name, "done")))

    def _child(
        self, thread_id: str, checkpoint: Checkpoint, step: PlannedStep, spec: GraphSpec
    ) -> str:
        """Return the thread of the subgraph that a step runs, or an empty text."""
        node = spec.nodes.get(step.node)
        if node is None or node.subgraph is None:
            return ""
        lasts = getattr(node.subgraph, "checkpointer", None) is True  # One thread for all its runs.
        name = spec.shown(step.node)
        ns = child_namespace(thread_id, checkpoint, step, name, lasts=lasts)
        return child_thread(root_thread(thread_id)[0], ns)

    def _load(
        self, thread_id: str, checkpoint_id: int | None
    ) -> tuple[LoadedThread, Checkpoint] | None:
        store = self.graph.store_of_threads()
        loaded = store.load(thread_id, checkpoint_id=checkpoint_id, values=False)
        if loaded is None:
            return None
        graph = self.graph.graph_of(root_thread(thread_id)[1], loaded.head.fingerprint)
        records = (graph or self.graph).records
        return loaded, records.checkpoint(loaded.checkpoint.header, loaded.checkpoint.plan)


def _state(loaded: LoadedThread, checkpoint: Checkpoint, step: PlannedStep) -> NodeState:
    """Return how far a step of the current plan is."""
    step_id, status = step.id_in(checkpoint), loaded.head.status
    if step_id in loaded.outcomes:
        # All of them completed and still the superstep was not: what they wrote does not fit.
        whole = all(each.id_in(checkpoint) in loaded.outcomes for each in checkpoint.plan)
        return "failed" if whole and status is RunStatus.FAILED else "done"
    live = loaded.steps.get(step_id)
    if live is not None and live.wait is not Wait.NOTHING:
        return _waiting(live)
    if status is RunStatus.PAUSED:
        return "paused"
    return "running" if status.active and live is not None and live.owner else "next"


def _waiting(step: LoadedStep) -> NodeState:
    """Return what to call a step that waits."""
    if step.wait is Wait.TIMER:
        return "running"  # Between two attempts, or in a subgraph.
    return "failed" if step.wait is Wait.PERSON and step.error else "paused"


def _first(states: Iterable[NodeState]) -> NodeState:
    return min(states, key=_ORDER.index)
