"""What a checkpoint holds for the next superstep besides the state: kept steps, routes, answers.

Plain data among the control channels, under names that no channel has: what is not a channel of the
graph is dropped when the next superstep is applied, so each note holds for one superstep.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from orchestrator.graph.policy import TimeoutPolicy
from orchestrator.graph.routing import Command, Send
from orchestrator.model.checkpoint import Checkpoint, PlannedStep

_KEPT = "__kept__"  # Steps that continue once the input is applied.
_GOTO = "__goto__"  # Where a caller's command leads.
_DONE = "__done__"  # What had completed of the superstep that the input interrupts, as stored.
_CARRIED = "__carried__"  # Which steps were planned before, and what was answered to them.
_UPDATE = "__update__"  # The input is a caller's update, which may name any key of the state.
_REASON = "__reason__"  # Why a run is resumed, for its hook.
_SPOTS = "__spots__"  # At which of their checkpoints the subgraphs of steps begin.
_TIMEOUTS = "__timeouts__"  # Of `Send`s that have one of their own.
NOTES = frozenset(
    {_KEPT, _GOTO, _UPDATE, _DONE, _CARRIED, _REASON, _SPOTS, _TIMEOUTS, Command.PARENT}
)


@dataclass(frozen=True, slots=True)
class Kept:
    """A step that had not completed when an input came, and continues after it.

    Attributes:
        node: its node.
        origin: the id under which it was first planned; its questions, its idempotency key and its
            subgraphs are known by it.
        is_send: whether a `Send` asked for it.
        arg: of that `Send`.
        answers: interrupt id → answer.
        notes: what the step had noted.
        given: the input, for a subgraph that a node of it had paused.
        spots: where its subgraphs begin, as stored.
    """

    node: str
    origin: str
    is_send: bool = False
    arg: Any = None
    answers: Mapping[str, Any] = field(default_factory=dict)
    notes: Mapping[str, bytes] = field(default_factory=dict)
    given: Any = None
    spots: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Spot:
    """The checkpoint of a subgraph at which a step begins it, instead of with an input.

    Attributes:
        ns: the namespace of the subgraph's thread.
        checkpoint_id: the checkpoint.
        answers: to what steps of the checkpoint asked: step id → place → answer.
        below: where subgraphs of the subgraph begin, by the place of the step: see `place_of`.
    """

    ns: str
    checkpoint_id: int
    answers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    below: Mapping[str, Spot] = field(default_factory=dict)

    def stored(self) -> list[Any]:
        """Return plain data."""
        answers = {step: dict(given) for step, given in self.answers.items()}
        below = {place: spot.stored() for place, spot in self.below.items()}
        return [self.ns, self.checkpoint_id, answers, below]

    @classmethod
    def of(cls, fields: Sequence[Any]) -> Spot:
        """Return what is stored."""
        ns, checkpoint_id, answers, below = fields
        return cls(ns, checkpoint_id, answers, {k: cls.of(spot) for k, spot in below.items()})


class Carried(NamedTuple):
    """What a step keeps from before it was planned anew.

    Attributes:
        origin: the id under which it was first planned.
        answers: to its questions, by interrupt id or by place.
        notes: what it had noted.
        given: the input that came while a node of its subgraph paused.
    """

    origin: str
    answers: Mapping[str, Any]
    notes: Mapping[str, bytes]
    given: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Carryover:
    """How a run begins, if not by its input at START alone.

    Attributes:
        kept: the steps that continue once the input is applied; nothing begins at START then.
            `None`: the run begins at START.
        goto: nodes to run, and `Send`s.
        done: completed steps of the plan before and their outcomes, to be applied with the input.
        reason: why a run is resumed, if its first step calls the hook for that.
        update: whether the input is what a caller's command updates.
    """

    kept: tuple[Kept, ...] | None = None
    goto: tuple[str | Send, ...] = ()
    done: tuple[tuple[PlannedStep, bytes], ...] = ()
    reason: str = ""
    update: bool = False

    def notes(self) -> dict[str, Any]:
        """Return plain data, for the input's checkpoint to hold."""
        notes: dict[str, Any] = {}
        if self.kept is not None:
            notes[_KEPT] = [
                [
                    *(k.node, k.origin, k.is_send, k.arg),
                    *(dict(k.answers), dict(k.notes), k.given, dict(k.spots)),
                ]
                for k in self.kept
            ]
        if self.reason:
            notes[_REASON] = self.reason
        if self.update:
            notes[_UPDATE] = True
        if self.goto:
            notes[_GOTO] = [[t.node, t.arg] if isinstance(t, Send) else t for t in self.goto]
        if self.done:
            notes[_DONE] = [
                [step.node, step.index, list(step.triggers), data] for step, data in self.done
            ]
        return notes


def keeps_steps(checkpoint: Checkpoint) -> bool:
    """Return whether kept steps continue beside the input, which does not begin at START."""
    return _KEPT in checkpoint.control


def is_update(checkpoint: Checkpoint) -> bool:
    """Return whether the input is a caller's update of the state, which may name any key."""
    return _UPDATE in checkpoint.control


def kept_in(checkpoint: Checkpoint) -> list[Kept]:
    """Return the steps that continue after this superstep."""
    found = checkpoint.control.get(_KEPT)
    return [Kept(*fields) for fields in found] if found else []


def goto_in(checkpoint: Checkpoint) -> list[str | Send]:
    """Return where a caller's command leads."""
    return [t if isinstance(t, str) else Send(*t) for t in checkpoint.control.get(_GOTO, ())]


def reason_in(checkpoint: Checkpoint) -> str:
    """Return why the run is resumed here, if it is; else nothing."""
    reason: str = checkpoint.control.get(_REASON, "")
    return reason


def done_in(checkpoint: Checkpoint) -> list[tuple[PlannedStep, bytes]]:
    """Return completed steps of the plan before, with their outcomes as stored."""
    found = checkpoint.control.get(_DONE)
    if not found:
        return []
    return [(PlannedStep(node, index, tuple(t)), data) for node, index, t, data in found]


def notes_for(sends: Sequence[Send], kept: Sequence[Kept]) -> dict[str, Any]:
    """Return what the steps of a new plan need to know.

    Args:
        sends: all `Send`s of the plan; those of `kept` are the last.
        kept: steps of before that continue.
    """
    notes: dict[str, Any] = {}
    timeouts = {str(i): _limits(s.timeout) for i, s in enumerate(sends) if s.timeout is not None}
    if timeouts:
        notes[_TIMEOUTS] = timeouts
    index = len(sends) - sum(k.is_send for k in kept)
    for step in kept:
        name = f"#{index}" if step.is_send else step.node
        index += step.is_send
        notes.setdefault(_CARRIED, {})[name] = [
            step.origin,
            dict(step.answers),
            dict(step.notes),
            step.given,
        ]
        for rest, spot in step.spots.items():
            notes.setdefault(_SPOTS, {})[name + rest] = spot
    return notes


def control_of_branch(
    before: Checkpoint,
    answers: Mapping[str, Mapping[str, Any]],
    spots: Mapping[str, Spot],
) -> dict[str, Any]:
    """Return the control of a checkpoint whose steps run those of another one again.

    They begin anew: what was answered to them, or noted by them, is not theirs.

    Args:
        before: the other one.
        answers: to what steps of it asked: step id → place → answer.
        spots: where their subgraphs begin, by `place_of` the step.
    """
    control = {key: value for key, value in before.control.items() if key != _CARRIED}
    carried = {
        place_of(step): ["", dict(answers[i]), {}, None]
        for step in before.plan
        if (i := step.id_in(before)) in answers
    }
    if carried:
        control[_CARRIED] = carried
    if spots:
        control[_SPOTS] = {place: spot.stored() for place, spot in spots.items()}
    return control


def without_spots(control: Mapping[str, Any]) -> dict[str, Any]:
    """Return control channels and notes for a thread that has no subgraphs yet."""
    return {key: value for key, value in control.items() if key != _SPOTS}


def place_of(step: PlannedStep, number: int = 0) -> str:
    """Return the place of a step in its plan, or of a subgraph that it runs after others."""
    place = step.node if step.index < 0 else f"#{step.index}"
    return f"{place}|{number}" if number else place


def spot_in(checkpoint: Checkpoint, step: PlannedStep, number: int = 0) -> Spot | None:
    """Return where a subgraph of a step begins, if not with an input.

    Args:
        checkpoint: what planned the step.
        step: the step.
        number: how many subgraphs the step runs before it.
    """
    found = checkpoint.control.get(_SPOTS)
    fields = found.get(place_of(step, number)) if found else None
    return Spot.of(fields) if fields else None


def spots_of(checkpoint: Checkpoint, step: PlannedStep) -> dict[str, Any]:
    """Return where the subgraphs of a step begin, as stored, by what follows the step's place."""
    own = place_of(step)
    found = checkpoint.control.get(_SPOTS, {})
    return {k[len(own) :]: spot for k, spot in found.items() if k.partition("|")[0] == own}


def carried_in(checkpoint: Checkpoint, step: PlannedStep, step_id: str = "") -> Carried:
    """Return what a step keeps from before it was planned anew.

    Args:
        checkpoint: what planned it.
        step: the step.
        step_id: its id, if the caller knows it.
    """
    found = checkpoint.control.get(_CARRIED)
    carried = found.get(place_of(step)) if found else None
    origin, *rest = carried or ("", {}, {}, None)
    return Carried(origin or step_id or step.id_in(checkpoint), *rest)


def _limits(policy: TimeoutPolicy) -> list[Any]:
    return [policy.run_timeout, policy.idle_timeout, policy.refresh_on]


def timeout_of(checkpoint: Checkpoint, step: PlannedStep) -> TimeoutPolicy | None:
    """Return the timeout that a step's `Send` gave it."""
    found = checkpoint.control.get(_TIMEOUTS, {}).get(str(step.index))
    if found is None:
        return None
    return TimeoutPolicy(run_timeout=found[0], idle_timeout=found[1], refresh_on=found[2])
