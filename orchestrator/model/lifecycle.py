"""The tables of states: the moves of runs and of steps from one state to another.

The engine takes the preconditions of answers, cancellations and ends from here; `docs/lifecycle.md`
draws the tables; the contract of checkpointers checks every store against the table of steps.
(INV-1, INV-2, INV-3)
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from orchestrator.model.checkpoint import RunStatus

_Q, _R, _P = RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.PAUSED
_S, _F, _C = RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELLED
ACTIVE = tuple(status for status in RunStatus if status.active)
IDLE = tuple(status for status in RunStatus if not status.active)


class RunMove(StrEnum):
    """A move of a run to another status."""

    ACCEPT = "accept"  # A caller gives an input: the next run of the thread.
    CLAIM = "claim"  # A process claims the first step.
    ANSWER = "answer"  # A caller answers a question.
    RESUME = "resume"  # A caller continues without an input.
    PAUSE = "pause"  # All steps are settled, and one waits for a person or an answer; or a break.
    SUCCEED = "succeed"  # A superstep plans no steps.
    FAIL = "fail"  # A step failed and is not retried, or a limit is reached.
    CANCEL = "cancel"  # A caller ends the run.
    EDIT = "edit"  # A caller edits the state, and steps are planned.
    EDIT_TO_END = "edit to end"  # A caller edits the state, and no steps are planned.


class RunRow(NamedTuple):
    """One row of the table: from these statuses, to that one."""

    before: tuple[RunStatus, ...]
    after: RunStatus


RUNS: Mapping[RunMove, RunRow] = {
    # A run that a dead process leaves active in its own process counts as idle: see `check_idle`.
    RunMove.ACCEPT: RunRow(IDLE, _Q),
    RunMove.CLAIM: RunRow(ACTIVE, _R),
    RunMove.ANSWER: RunRow((*ACTIVE, _P, _F), _R),
    RunMove.RESUME: RunRow((_P, _F, _C), _R),
    RunMove.PAUSE: RunRow(ACTIVE, _P),
    RunMove.SUCCEED: RunRow(ACTIVE, _S),
    RunMove.FAIL: RunRow(ACTIVE, _F),
    RunMove.CANCEL: RunRow((*ACTIVE, _P), _C),
    RunMove.EDIT: RunRow(IDLE, _P),
    RunMove.EDIT_TO_END: RunRow(IDLE, _S),
}


class StepState(StrEnum):
    """The state of a planned step."""

    READY = "ready"
    CLAIMED = "claimed"
    TIMER = "waits for a time"
    ANSWER = "waits for an answer"
    PERSON = "waits for a person"
    COMPLETED = "completed"

    @property
    def settled(self) -> bool:
        """Whether the step does not keep its superstep open."""
        return self in {StepState.ANSWER, StepState.PERSON, StepState.COMPLETED}


class StepMove(StrEnum):
    """A move of a step to another state."""

    CLAIM = "claim"  # A process begins an attempt.
    COMPLETE = "complete"  # Its result is committed. (INV-2)
    WAIT = "wait"  # A failed attempt will be retried, or a node waits for a time.
    ASK = "ask"  # Its node asked a question.
    PARK = "park"  # It failed for good, or its node paused it.
    HAND_BACK = "hand back"  # The process that claimed it stops.
    RELEASE = "release"  # The lease of the process that claimed it ended.
    WAKE = "wake"  # Its time has come, it was answered, or its run is resumed.


class StepRow(NamedTuple):
    """One row of the table: from these states, to that one; in other states it changes nothing."""

    before: tuple[StepState, ...]
    after: StepState


_HELD = (StepState.CLAIMED,)  # Only the process with the claim's fence may. (INV-3)
STEPS: Mapping[StepMove, StepRow] = {
    StepMove.CLAIM: StepRow((StepState.READY,), StepState.CLAIMED),
    StepMove.COMPLETE: StepRow(_HELD, StepState.COMPLETED),
    StepMove.WAIT: StepRow(_HELD, StepState.TIMER),
    StepMove.ASK: StepRow(_HELD, StepState.ANSWER),
    StepMove.PARK: StepRow(_HELD, StepState.PERSON),
    StepMove.HAND_BACK: StepRow(_HELD, StepState.READY),
    StepMove.RELEASE: StepRow(_HELD, StepState.READY),
    StepMove.WAKE: StepRow(
        (StepState.READY, StepState.TIMER, StepState.ANSWER, StepState.PERSON), StepState.READY
    ),
}


def diagram(table: Mapping[RunMove, RunRow] | Mapping[StepMove, StepRow]) -> str:
    """Return a table as a state diagram of Mermaid."""
    moves = [
        f"    {_id(state)} --> {_id(after)}: {move}"
        for move, (before, after) in table.items()
        for state in before
        if state != after
    ]
    return "\n".join(["stateDiagram-v2", *moves])


def _id(state: StrEnum) -> str:
    return state.value.replace(" ", "_")
