"""Accepting a run: its input becomes a checkpoint, which START's step applies. (INV-1)

Pure, and without the graph: a client that only knows a graph's name can do it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from orchestrator import limits
from orchestrator.channels import MISSING, storable
from orchestrator.engine import branches
from orchestrator.engine.advance import accept_input
from orchestrator.engine.apply import LEFT
from orchestrator.engine.carryover import (
    Carryover,
    Kept,
    Spot,
    carried_in,
    control_of_branch,
    spots_of,
)
from orchestrator.engine.questions import answers_given
from orchestrator.engine.records import Records
from orchestrator.engine.settle import TURN, TURN_ABOVE, Decider, steps_of
from orchestrator.errors import ThreadBusyError, UnserializableValueError
from orchestrator.graph.routing import START, Send
from orchestrator.graph.spec import GraphSpec
from orchestrator.ids import mint_checkpoint_id
from orchestrator.model.checkpoint import Checkpoint, Outcome, PlannedStep, RunStatus
from orchestrator.model.commit import Commit, LoadedStep, LoadedThread, StoredCheckpoint, Wait
from orchestrator.model.events import RunAccepted

# The position of a step is no metadata of what it stores; these names are LangGraph's.
NO_MARKS = {
    *("thread_id", "checkpoint_id", "checkpoint_ns", "checkpoint_map"),
    *("langgraph_step", "langgraph_node", "langgraph_triggers", "langgraph_path"),
    "langgraph_checkpoint_ns",
}


def marked(metadata: Mapping[str, Any], configurable: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata of the checkpoints of a call: as in LangGraph, scalars of both.

    Other values that the call gives as metadata are kept, too.
    """
    given = {k: v for k, v in configurable.items() if isinstance(v, (str, int, float))}
    every = {**given, **metadata}
    return {k: v for k, v in every.items() if k not in NO_MARKS and not k.startswith("__")}


def marks_in(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the metadata of the checkpoints of a run, by what its head says of its call."""
    found: Mapping[str, Any] | None = given.get("marks")
    if found is None:
        return marked(given.get("metadata", {}), given.get("configurable", {}))
    return found


Multitask = Literal["reject", "enqueue", "interrupt", "rollback"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """What a run is started with besides its input."""

    run_id: str
    fingerprint: str = ""
    recursion_limit: int = limits.RECURSION_LIMIT_DEFAULT
    state_version: int | None = None  # Of the graph, if the caller has it.
    metadata: Mapping[str, Any] = field(default_factory=dict)
    configurable: Mapping[str, Any] = field(default_factory=dict)
    above: Mapping[str, Any] | None = None  # Metadata of checkpoints of the graph around.
    context: Any = None  # What nodes get as `runtime.context`, where it must be stored.
    messages: bool = False  # Whether the caller reads tokens of language models.
    queue: str = ""  # Where its steps go whose nodes name no queue; empty: as the graph says.
    owner: str = ""  # The process whose run it is, when no fleet runs it.
    resumes_max: int | None = None  # How often it may be resumed after it failed or crashed.
    parent: tuple[str, str] | None = None  # The thread and step whose subgraph the run is.
    branch: Mapping[str, Any] = field(default_factory=dict)  # Of the graphs around: `branches`.
    key: str | None = None  # The caller's idempotency key.
    goto: tuple[str | Send, ...] = ()  # Where a caller's command leads.
    keeps_steps: bool = False  # Whether steps that are left continue beside the input.
    resume: Any = MISSING  # With `keeps_steps`: answers for those steps.
    on_pending: Literal["discard", "apply", "reject"] = "discard"
    multitask: Multitask = "reject"  # What happens if the thread has a run that has not ended.
    base: int | None = None  # The checkpoint whose state the run begins with.
    on_corrupt: Literal["raise", "restart"] = "raise"
    fresh: bool = False  # Whether the state begins anew, whatever the thread holds.

    @property
    def marks(self) -> Mapping[str, Any]:
        """Return the metadata of its checkpoints."""
        return marked(self.metadata, self.configurable) if self.above is None else self.above

    @property
    def call(self) -> Mapping[str, Any]:
        """Return what a resumed run knows of the call that resumes it."""
        return {"metadata": self.metadata, "configurable": self.configurable, "marks": self.marks}


def check_idle(thread_id: str, loaded: LoadedThread, first: str = "") -> None:
    """Refuse a second writer on a busy thread. (INV-9)

    Between two runs of a thread, queued runs come before a new call, but for the `first` of them.

    A run in a caller's process is active while that process has a lease or a step of it is claimed:
    if the process was stopped or has died, no other would ever resume the run.

    Raises:
        ThreadBusyError: if the thread's run is active.
    """
    claimed = any(step.owner for step in loaded.steps.values())
    abandoned = loaded.head.local and not claimed and not loaded.owner_alive
    if loaded.head.status.active and not abandoned:
        msg = (
            f"the thread {thread_id!r} is busy: its run {loaded.head.run_id} is "
            f"{loaded.head.status}. Wait for it, cancel it, or use another thread"
        )
        raise ThreadBusyError(msg)
    next_run = next(iter(loaded.line), first)
    if loaded.head.status.final and next_run != first:
        msg = (
            f"the thread {thread_id!r} is busy: its run {next_run} is about to begin. Wait for it, "
            f"cancel it, or use another thread"
        )
        raise ThreadBusyError(msg)


def accept(
    decider: Decider,
    value: Any,
    config: RunConfig,
    loaded: LoadedThread | None,
    *,
    now_ms: int,
    before: LoadedThread | None = None,
) -> Commit:
    """Accept a run: its input checkpoint and its first step. (INV-1)

    Args:
        decider: of the thread.
        value: the input.
        config: what the run is started with besides.
        loaded: the thread at its head, with values if steps may be kept.
        now_ms: the time.
        before: the thread at the checkpoint whose state the run begins with, if not the head.

    Raises:
        ThreadBusyError: if the thread's run is active, or has steps left and `config` says so.
    """
    records, where, given = decider.records, decider.where, plain(value)
    base: Checkpoint | None = None
    carryover = _command_of(config)
    if loaded is not None:
        overtakes = config.multitask in {"interrupt", "rollback"}
        first = next(iter(loaded.line), "") if overtakes else config.run_id
        check_idle(where.thread_id, loaded, first)
        if not config.fresh:
            from_ = before or loaded
            base = records.checkpoint(from_.checkpoint.header, from_.checkpoint.plan)
            if before is None:
                carryover = _carryover(decider, loaded, config, given)
    newest = loaded.head.checkpoint_id if loaded else 0
    checkpoint = accept_input(
        base,
        given,
        new_id=mint_checkpoint_id(newest, now_ms),
        now_ms=now_ms,
        metadata=branches.given(config.marks, config.branch, base, where.thread_id),
        carryover=carryover,
    )
    if base is None:
        checkpoint = replace(checkpoint, state_version=config.state_version)
    elif base.id != newest:
        checkpoint = branches.branched(checkpoint, where.thread_id, base.id)
    begun = replace(config, base=base.id if base else None)
    head = new_head(decider, begun, checkpoint.step + 1)
    stored = _stored_input(records, checkpoint, given)
    ready = steps_of(checkpoint, where, None)
    keeps = carryover is not None and carryover.kept is not None
    accepted = RunAccepted(
        run=config.run_id,
        graph=where.graph,
        checkpoint=checkpoint.id,
        steps=(ready[0].step_id,),
        abandoned="" if keeps else " ".join(step.step.node for step in _open(loaded)),
        **_replaced_run(loaded),
    )
    return Commit(
        thread_id=where.thread_id,
        expect_new=loaded is None,
        expect_head=loaded.head.checkpoint_id if loaded else None,
        expect_status=(loaded.head.status,) if loaded else (),
        checkpoint=stored,
        ready=ready,
        status=RunStatus.QUEUED,
        head=head if loaded else {name: value for name, value in head.items() if value},
        key=(config.key, config.run_id) if config.key is not None else None,
        results=left_behind(records, loaded) if loaded is not None and not keeps else {},
        events=(accepted.draft(),),
    )


def _stored_input(records: Records, checkpoint: Checkpoint, value: Any) -> StoredCheckpoint:
    try:
        return records.store_checkpoint(checkpoint)
    except UnserializableValueError:
        records.check("the input", value)  # Its error names the place in the input.
        raise


def find_run(thread_id: str, key: str) -> Commit:
    """Ask for the run accepted under an idempotency key: refused with its id, if there is one."""
    return Commit(thread_id=thread_id, expect_new=True, key=(key, ""))


def end_hold(thread_id: str, holder: str, *, is_new: bool) -> Commit:
    """End the hold that a call has on a thread, which may not exist yet."""
    return Commit(thread_id=thread_id, expect_new=is_new, holder=holder, hold_ms=0)


def left_behind(records: Records, loaded: LoadedThread) -> dict[tuple[int, str], bytes]:
    """Return what history shows of steps that are left: how they failed, and what they asked."""
    return {
        (loaded.checkpoint.id, step_id): records.store_outcome(
            Outcome(
                writes=((LEFT, True),),
                attempt=step.attempt,
                interrupts=tuple(map(records.interrupt, filter(None, step.asks.values()))),
                error=step.error,
            )
        )
        for step_id, step in loaded.steps.items()
        if not step.completed and (step.error or step.asks)
    }


def plain(value: Any) -> Any:
    """Return an input as it is stored."""
    is_map = isinstance(value, Mapping)
    return {key: storable(write) for key, write in value.items()} if is_map else value


def _open(loaded: LoadedThread | None) -> list[LoadedStep]:
    """Return the steps of the superstep that have not completed."""
    return [step for step in (loaded.steps if loaded else {}).values() if not step.completed]


def _replaced_run(loaded: LoadedThread | None) -> Mapping[str, Any]:
    """Return the previous run's outcome, for callers that are still waiting for it."""
    if loaded is None:
        return {}
    head = loaded.head
    return {
        "before": head.run_id,
        "before_status": str(head.status),
        "before_checkpoint": head.checkpoint_id,
        "before_error": head.error,
    }


def _command_of(config: RunConfig) -> Carryover | None:
    """Return what a caller's command adds to an input that begins at START."""
    given = bool(config.goto) or config.keeps_steps
    return Carryover(goto=config.goto, update=config.keeps_steps) if given else None


def _carryover(
    decider: Decider, loaded: LoadedThread, config: RunConfig, value: Any
) -> Carryover | None:
    """Return how a run begins on a thread that may have steps left.

    Those of a thread that a node paused continue, and so do those that a caller's command keeps;
    else they are dropped, or the completed ones applied, or the run refused, by `on_pending`.
    """
    thread_id, left = decider.where.thread_id, _open(loaded)
    paused = loaded.head.status is RunStatus.PAUSED and paused_by_node(loaded) is not None
    # A run that has not passed START has no steps to keep.
    continues = (config.keeps_steps or paused) and all(s.step.node != START for s in left)
    if not continues and left and config.on_pending == "reject":
        raise _steps_left(thread_id, left)
    if not continues and config.on_pending != "apply":
        return _command_of(config)
    done = _done(loaded) if loaded.head.status is not RunStatus.SUCCEEDED else ()
    given = {}
    if config.resume is not MISSING:
        given = answers_given(thread_id, loaded, config.resume)
    if not continues:
        return Carryover(goto=config.goto, done=done)
    kept = tuple(kept_step(decider.records, loaded, step, given) for step in left)
    if paused and not config.keeps_steps:
        kept = tuple(replace(step, given=value) for step in kept)
    hooked = decider.records.decode(loaded.head.config).get("on_resume")
    reason = ("pause" if paused else "command") if hooked else ""
    return Carryover(kept=kept, goto=config.goto, done=done, reason=reason)


def _steps_left(thread_id: str, left: list[LoadedStep]) -> ThreadBusyError:
    nodes = ", ".join(repr(step.step.node) for step in left)
    return ThreadBusyError(
        f"the thread {thread_id!r} has steps left in {nodes}, and on_pending='reject'. Resume it "
        f"with None, or start anew with on_pending='discard' or 'apply'"
    )


def _done(loaded: LoadedThread) -> tuple[tuple[PlannedStep, bytes], ...]:
    """Return the completed steps of the superstep, with their outcomes."""
    done = [step.step for step in loaded.steps.values() if step.completed]
    return tuple((step.planned, loaded.outcome(step.step_id)) for step in done)


def accept_at(
    decider: Decider,
    spec: GraphSpec,
    config: RunConfig,
    spot: Spot,
    *,
    loaded: LoadedThread,
    before: LoadedThread,
) -> Commit:
    """Accept a run of a subgraph that begins with what a checkpoint of it had left to do.

    Args:
        decider: of the thread.
        spec: the graph.
        config: what the run is started with.
        spot: the checkpoint, and what its steps and their subgraphs begin with.
        loaded: the thread at its head.
        before: the thread at the checkpoint.

    Raises:
        ThreadBusyError: if the thread's run is active.
    """
    records, where = decider.records, decider.where
    check_idle(where.thread_id, loaded)
    base = records.checkpoint(before.checkpoint.header, before.checkpoint.plan)
    checkpoint = branch_of(
        base,
        where.thread_id,
        new_id=mint_checkpoint_id(loaded.head.checkpoint_id, loaded.now_ms),
        now_ms=loaded.now_ms,
        spot=spot,
        metadata=branches.given(config.marks, config.branch, base, where.thread_id),
    )
    ready = steps_of(checkpoint, where, spec)
    accepted = RunAccepted(
        run=config.run_id,
        graph=where.graph,
        checkpoint=checkpoint.id,
        steps=tuple(step.step_id for step in ready),
        **_replaced_run(loaded),
    )
    return Commit(
        thread_id=where.thread_id,
        expect_head=loaded.head.checkpoint_id,
        expect_status=(loaded.head.status,),
        checkpoint=records.store_checkpoint(checkpoint),
        ready=ready,
        status=RunStatus.QUEUED if ready else RunStatus.SUCCEEDED,
        head=new_head(decider, replace(config, base=base.id), checkpoint.step),
        results=left_behind(records, loaded),
        events=(accepted.draft(),),
    )


def branch_of(
    base: Checkpoint,
    thread_id: str,
    *,
    new_id: int,
    now_ms: int,
    spot: Spot | None = None,
    metadata: Mapping[str, Any] | None = None,
    source: str = "fork",
) -> Checkpoint:
    """Return a checkpoint whose steps run those of an earlier one again.

    Args:
        base: the earlier one.
        thread_id: the thread of both.
        new_id: the id of the new one.
        now_ms: the time.
        spot: what the steps and their subgraphs begin with, if not as they did.
        metadata: of the new one, if not that of the base.
        source: as what people see it.
    """
    spot = spot or Spot("", base.id)
    checkpoint = base.again(
        control=control_of_branch(base, spot.answers, spot.below),
        id=new_id,
        parent=base.id,
        step=base.step + 1,
        source=source,
        created_ms=now_ms,
        metadata=base.metadata if metadata is None else metadata,
    )
    return branches.branched(checkpoint, thread_id, base.id)


def kept_step(
    records: Records, loaded: LoadedThread, step: LoadedStep, given: Mapping[str, Any]
) -> Kept:
    """Return a step that continues after an input, with its answers, those `given` among them."""
    is_send = step.step.index >= 0
    arg = records.decode(loaded.blobs[step.step.arg]) if is_send else None
    checkpoint = records.checkpoint(loaded.checkpoint.header)
    carried = carried_in(checkpoint, step.step.planned)
    answers = {i: records.decode(data) for i, data in step.answers.items()}
    now = {i: value for i, value in given.items() if i in step.asks}
    return Kept(
        step.step.node,
        carried.origin,
        is_send,
        arg,
        {**carried.answers, **answers, **now},
        {**carried.notes, **step.notes},
        spots=spots_of(checkpoint, step.step.planned),
    )


def paused_by_node(loaded: LoadedThread) -> LoadedStep | None:
    """Return the step whose node paused the thread by raising `InterruptedError`, if one did."""
    return next(
        (
            step
            for step in loaded.steps.values()
            if step.wait is Wait.PERSON and not (step.error or step.completed)
            if step.reason not in {TURN, TURN_ABOVE}
        ),
        None,
    )


def new_head(
    decider: Decider, config: RunConfig, superstep: int
) -> Mapping[str, str | int | bytes]:
    """Return the head's fields for a new run that begins with START in `superstep`."""
    given: dict[str, Any] = {"recursion_limit": config.recursion_limit}
    if config.configurable:
        given["configurable"] = config.configurable
    if config.metadata:
        given["metadata"] = config.metadata
    if config.above is not None:
        given["marks"] = config.above
    if config.context is not None:
        given["context"] = config.context
    if config.messages:
        given["messages"] = True
    if config.queue:
        given["queue"] = config.queue
    if config.resumes_max is not None:
        given["resumes_max"] = config.resumes_max
    if config.base is not None:
        given["base"] = config.base
    if config.parent is not None:
        given["parent"] = list(config.parent)
    return {
        "graph": decider.where.graph,
        "fingerprint": config.fingerprint,
        "run_id": config.run_id,
        "config": decider.records.check("the config", given),
        "local": int(not decider.where.default_queue),
        "owner": config.owner,
        "resumes": 0,
        "stop": superstep + config.recursion_limit,
        "error": b"",
    }
