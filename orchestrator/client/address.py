"""What the config of a checkpoint names: one of the thread, or one of a subgraph at any depth.

A call with the config of a subgraph's checkpoint is a call of the outermost graph, which goes back
to the checkpoint that had planned the step which ran the subgraph. That step begins its subgraph at
the named checkpoint, and so on down to the last one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.checkpointer.base import Checkpointer
from orchestrator.client.graph_base import GraphBase
from orchestrator.client.options import ConfigError, ThreadConfig
from orchestrator.client.snapshot import child_namespace
from orchestrator.client.thread_calls import Calls
from orchestrator.engine.branches import caller_of, parents_of
from orchestrator.engine.carryover import Spot, carried_in, place_of
from orchestrator.engine.questions import answers_to, placed
from orchestrator.engine.records import Records
from orchestrator.ids import checkpoint_text, child_thread, root_thread
from orchestrator.integrations.validation import check_answer
from orchestrator.model.checkpoint import Checkpoint, Interrupt, PlannedStep
from orchestrator.model.commit import LoadedThread

_CHILDREN_MAX = 100  # How many subgraphs that one step's code calls are searched.


@dataclass(frozen=True, slots=True)
class Address:
    """A checkpoint of the outermost thread, and where the subgraphs below it begin.

    Attributes:
        spot: the checkpoint, and those of the subgraphs on the way to the named one.
        path: the places of the steps on that way.
        latest: whether all of them are the latest of their threads.
        repeated: whether the latest of each thread is this one, or runs again what this one had
            planned.
    """

    spot: Spot
    path: tuple[str, ...] = ()
    latest: bool = False
    repeated: bool = False

    def ending(self, last: Spot) -> Spot:
        """Return the spot with another one at its end."""
        return _ending(self.spot, self.path, last)

    @property
    def named(self) -> Spot:
        """Return the named checkpoint."""
        spot = self.spot
        for place in self.path:
            spot = spot.below[place]
        return spot


def _ending(spot: Spot, path: tuple[str, ...], last: Spot) -> Spot:
    if not path:
        return last
    below = _ending(spot.below[path[0]], path[1:], last)
    return replace(spot, below={**spot.below, path[0]: below})


@dataclass(frozen=True, slots=True)
class Addresses:
    """Finds checkpoints of a graph and its subgraphs.

    Attributes:
        graph: the outermost graph.
        store: where the threads are.
        root: the outermost thread.
    """

    graph: GraphBase
    store: Checkpointer
    root: str
    _calls: Calls = field(init=False)

    def __post_init__(self) -> None:
        """Make the calls by which threads are loaded."""
        object.__setattr__(self, "_calls", Calls(self.store, self.graph.records))

    def of(self, parsed: ThreadConfig) -> Address | None:
        """Return what a config names, or `None` if it is the thread as it is.

        Raises:
            ConfigError: if the checkpoint of a subgraph does not say by which step it was made.
            UnknownThreadError: if there is no such checkpoint.
        """
        if parsed.checkpoint_id is None:
            return None
        thread_id = child_thread(self.root, parsed.ns)
        named = self._calls.at(thread_id, parsed.checkpoint_id)
        if not parsed.ns:
            latest, repeated = self._is_latest(thread_id, named)
            return Address(Spot("", parsed.checkpoint_id), (), latest, repeated)
        known = parents_of(self._checkpoint(thread_id, named).metadata)
        around = {**{ns: int(text, 16) for ns, text in known.items()}, **parsed.around}
        around[parsed.ns] = parsed.checkpoint_id
        return self._down(list(_levels(parsed.ns)), around)

    def _down(self, levels: list[_Level], around: Mapping[str, int]) -> Address:
        """Return the way from the outermost thread to a checkpoint of a subgraph."""
        missing = next((ns for ns in ("", *(le.ns for le in levels)) if ns not in around), None)
        if missing is not None:
            msg = (
                f"the checkpoint of the subgraph {levels[-1].ns!r} does not say which checkpoint "
                f"of {missing or 'the outermost graph'!r} it belongs to: give the config as "
                f"get_state(…, subgraphs=True) shows it, with its checkpoint_map"
            )
            raise ConfigError(msg)
        path, outer = [], ""
        newest = [self._is_latest(self.root, self._calls.at(self.root, around[""]))]
        spots = [Spot("", around[""])]
        for level in levels:
            thread_id = child_thread(self.root, outer)
            loaded = self._calls.at(thread_id, around[outer])
            inner = self._calls.at(child_thread(self.root, level.ns), around[level.ns])
            newest.append(self._is_latest(child_thread(self.root, level.ns), inner))
            step = self._step(thread_id, loaded, level, inner)
            path.append(place_of(step, level.number))
            spots.append(Spot(level.ns, around[level.ns]))
            outer = level.ns
        spot = spots.pop()
        for place in reversed(path):
            spot = replace(spots.pop(), below={place: spot})
        latest, repeated = (all(each) for each in zip(*newest, strict=True))
        return Address(spot, tuple(path), latest, repeated)

    def _is_latest(self, thread_id: str, loaded: LoadedThread) -> tuple[bool, bool]:
        """Return whether a checkpoint is the latest, and whether the latest at least repeats it."""
        newest = loaded.head.checkpoint_id
        if newest == loaded.checkpoint.id:
            return True, True
        last = self._checkpoint(thread_id, self._calls.at(thread_id, newest))
        return False, last.source == "fork" and last.parent == loaded.checkpoint.id

    def _step(
        self, thread_id: str, loaded: LoadedThread, level: _Level, inner: LoadedThread
    ) -> PlannedStep:
        """Return the step of a checkpoint that ran a subgraph."""
        checkpoint = self._checkpoint(thread_id, loaded)
        inside = self._checkpoint(child_thread(self.root, level.ns), inner)
        caller = caller_of(inside.metadata)
        graph = self.graph.graph_of(root_thread(thread_id)[1]) or self.graph
        of_node: PlannedStep | None = None
        for step in checkpoint.plan:
            if step.id_in(checkpoint) == caller:
                return step
            if graph.spec.shown(step.node) == level.node and of_node is None:
                origin = carried_in(checkpoint, step).origin
                of_node = step if level.origin in {"", origin} else None
        if of_node is None:
            msg = (
                f"the checkpoint {checkpoint_text(checkpoint.id)!r} has no step that ran the "
                f"subgraph {level.ns!r}: give the config as get_state(…, subgraphs=True) shows it"
            )
            raise ConfigError(msg)
        return of_node

    # ---- answers ------------------------------------------------------------------------------

    def answered(self, address: Address, resume: Any) -> Spot:
        """Return an address with answers to what was asked at the named checkpoint.

        Raises:
            NoPendingInterruptError: if nothing was asked there.
            UnknownInterruptError: if an id was not asked, or several were and none is named.
            InvalidAnswerError: if an answer does not fit what was asked for.
        """
        named = address.named
        thread_id = child_thread(self.root, named.ns)
        loaded = self._calls.at(thread_id, named.checkpoint_id)
        questions = [q for each in self._asked(thread_id, loaded).values() for q in each]
        answers = answers_to(self.root, questions, resume)
        for question in questions:
            if question.id in answers:
                check_answer(question.id, question.response_schema, answers[question.id])
        return address.ending(self._answering(thread_id, loaded, answers))

    def _answering(self, thread_id: str, loaded: LoadedThread, answers: Mapping[str, Any]) -> Spot:
        """Return a checkpoint with answers for its steps, or for those of their subgraphs."""
        checkpoint = self._checkpoint(thread_id, loaded)
        asked, own, below = self._asked(thread_id, loaded), {}, {}
        for step in checkpoint.plan:
            step_id = step.id_in(checkpoint)
            mine = {q.id for q in asked.get(step_id, ()) if q.id in answers}
            for place, child, at in self._children(thread_id, checkpoint, step) if mine else ():
                theirs = {i: answers[i] for i in mine & self._ids(child, at)}
                if theirs:
                    below[place] = self._answering(child, at, theirs)
                    mine -= theirs.keys()
            if mine:
                own[step_id] = placed(asked[step_id], {i: answers[i] for i in mine})
        return Spot(root_thread(thread_id)[1], checkpoint.id, own, below)

    def _children(
        self, thread_id: str, checkpoint: Checkpoint, step: PlannedStep
    ) -> Iterator[tuple[str, str, LoadedThread]]:
        """Iterate over checkpoints of the subgraphs that a step ran, each with its place."""
        graph = self.graph.graph_of(root_thread(thread_id)[1]) or self.graph
        name, step_id = graph.spec.shown(step.node), step.id_in(checkpoint)
        for lasts in (False, True):
            ns = child_namespace(thread_id, checkpoint, step, name, lasts=lasts)
            for number in range(_CHILDREN_MAX):
                child = child_thread(self.root, f"{ns}|{number}" if number else ns)
                if self.store.load(child, values=False) is None:
                    break
                for at in self._calls.history(child):
                    loaded = self._calls.at(child, at)
                    if caller_of(self._checkpoint(child, loaded).metadata) == step_id:
                        yield place_of(step, number), child, loaded

    def _ids(self, thread_id: str, loaded: LoadedThread) -> set[str]:
        return {q.id for each in self._asked(thread_id, loaded).values() for q in each}

    def _asked(self, thread_id: str, loaded: LoadedThread) -> dict[str, tuple[Interrupt, ...]]:
        """Return what the steps of a checkpoint asked, or ask."""
        records = self._records(thread_id)
        asked = {i: records.outcome(data).interrupts for i, data in loaded.outcomes.items()}
        for i, step in loaded.steps.items():
            if i not in asked:
                asked[i] = tuple(map(records.interrupt, filter(None, step.asks.values())))
        return asked

    def _records(self, thread_id: str) -> Records:
        graph = self.graph.graph_of(root_thread(thread_id)[1])
        return (graph or self.graph).records

    def _checkpoint(self, thread_id: str, loaded: LoadedThread) -> Checkpoint:
        stored = loaded.checkpoint
        return self._records(thread_id).checkpoint(stored.header, stored.plan)


@dataclass(frozen=True, slots=True)
class _Level:
    """One subgraph of a namespace.

    Attributes:
        ns: its namespace.
        node: the name of the node that runs it.
        origin: the id by which the namespace names the step; empty: the same for all steps.
        number: how many subgraphs the step ran before it.
    """

    ns: str
    node: str
    origin: str
    number: int


def _levels(ns: str) -> Iterator[_Level]:
    """Iterate over the subgraphs of a namespace, from the outside in."""
    parts = ns.split("|")
    for index, part in enumerate(parts):
        if part.isdigit():
            continue
        after = parts[index + 1] if index + 1 < len(parts) else ""
        number = int(after) if after.isdigit() else 0
        node, _, origin = part.partition(":")
        whole = "|".join(parts[: index + 1 + bool(number)])
        yield _Level(whole, node, origin, number)
