"""Accepting a run: its input becomes a checkpoint, with a first step that takes it in. (INV-1)

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
    Kept,
    Spot,
    Steering,
    carried_in,
    control_of_branch,
    spots_of,
)
from orchestrator.engine.questions import answers_given
from orchestrator.engine.records import Records
from orchestrator.engine.settle import TURN, TURN_ABOVE, Placement, steps_of
from orchestrator.errors import ThreadBusyError, UnserializableValueError
from orchestrator.graph.routing import START, Send
from orchestrator.graph.spec import GraphSpec
from orchestrator.ids import mint_checkpoint_id
from orchestrator.model.checkpoint import Checkpoint, Outcome, RunStatus
from orchestrator.model.commit import (
    Commit,
    LoadedStep,
    LoadedThread,
    Wait,
)
from orchestrator.model.events import RunAccepted, RunResumed

__all__ = [
    "NO_MARKS",
    "Multitask",
    "RunConfig",
    "accept",
    "accept_at",
    "branch_of",
    "check_idle",
    "go_on",
    "left_behind",
    "marked",
    "marks_in",
    "new_head",
    "paused_by_node",
    "plain",
]


# Where a step stands is no metadata of what it stores; these names are LangGraph's.
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
    messages: bool = False  # Whether somebody wants to read tokens of language models.
    queue: str = ""  # Where its steps go whose nodes name no queue; empty: as the graph says.
    owner: str = ""  # The process whose run it is, when no fleet runs it.
    resumes_max: int | None = None  # How often it may be resumed after it failed or crashed.
    parent: tuple[str, str] | None = None  # The thread and step whose subgraph the run is.
    branch: Mapping[str, Any] = field(default_factory=dict)  # Of the graphs around: `branches`.
    key: str | None = None  # The caller's idempotency key.
    goto: tuple[str | Send, ...] = ()  # Where a caller's command leads.
    steers: bool = False  # Whether steps that are left go on with the input.
    resume: Any = MISSING  # With `steers`: answers for those steps.
    on_pending: Literal["discard", "apply", "reject"] = "discard"
    multitask: Multitask = "reject"  # What happens if the thread has a run that has not ended.
    base: int | None = None  # The checkpoint that the run stands on.
    on_corrupt: Literal["raise", "restart"] = "raise"
    fresh: bool = False  # Whether the state begins anew, whatever the thread holds.

    @property
    def marks(self) -> Mapping[str, Any]:
        """Return the metadata of its checkpoints."""
        return marked(self.metadata, self.configurable) if self.above is None else self.above

    @property
    def call(self) -> Mapping[str, Any]:
        """Return what a run that continues knows of the call by which it does."""
        return {"metadata": self.metadata, "configurable": self.configurable, "marks": self.marks}


def check_idle(thread_id: str, loaded: LoadedThread, first: str = "") -> None:
    """Refuse a second writer on a busy thread. (INV-9)

    Whoever comes between two runs stands behind those in line, but for the `first` of them.

    A run in a caller's process is active as long as that process has a lease or one of its steps is
    claimed: if it was stopped or has died, nobody else would ever go on with it.

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
    records: Records,
    where: Placement,
    value: Any,
    config: RunConfig,
    loaded: LoadedThread | None,
    now_ms: int,
    before: LoadedThread | None = None,
) -> Commit:
    """Accept a run: its input checkpoint and its first step. (INV-1)

    Args:
        records: how things are stored.
        where: which thread and graph, and where steps run.
        value: the input.
        config: what the run is started with besides.
        loaded: the thread at its head, with values if steps may be kept.
        now_ms: the time.
        before: the thread at the checkpoint that the run stands on, if that is not the head.

    Raises:
        ThreadBusyError: if the thread's run is active, or has steps left and `config` says so.
    """
    given = plain(value)
    base: Checkpoint | None = None
    steering = _command_of(config)
    if loaded is not None:
        overtakes = config.multitask in {"interrupt", "rollback"}
        first = next(iter(loaded.line), "") if overtakes else config.run_id
        check_idle(where.thread_id, loaded, first)
        from_ = before or loaded
        if not config.fresh:
            base = records.checkpoint(from_.checkpoint.header, from_.checkpoint.plan)
        if before is None and not config.fresh:
            steering = _steering(records, where.thread_id, loaded, config, given)
    checkpoint = accept_input(
        base,
        given,
        new_id=mint_checkpoint_id(loaded.head.checkpoint_id if loaded else 0, now_ms),
        now_ms=now_ms,
        metadata=branches.given(config.marks, config.branch, base, where.thread_id),
        steering=steering,
    )
    if base is not None and loaded is not None and base.id != loaded.head.checkpoint_id:
        checkpoint = branches.branched(checkpoint, where.thread_id, base.id)
    if base is None:
        checkpoint = replace(checkpoint, state_version=config.state_version)
    stands_on = replace(config, base=base.id if base else None)
    head = new_head(records, where, stands_on, checkpoint.step + 1)
    try:
        stored = records.store_checkpoint(checkpoint)
    except UnserializableValueError:
        records.check("the input", given)
        raise
    ready = steps_of(checkpoint, where, None)
    kept = steering is not None and steering.kept is not None
    left = left_behind(records, loaded) if loaded is not None and not kept else {}
    rest = [s.step.node for s in (loaded.steps if loaded else {}).values() if not s.completed]
    accepted = RunAccepted(
        run=config.run_id,
        graph=where.graph,
        checkpoint=checkpoint.id,
        steps=(ready[0].step_id,),
        abandoned="" if kept else " ".join(rest),
        **(_succeeds(loaded) if loaded else {}),
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
        results=left,
        events=(accepted.draft(),),
    )


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


def _command_of(config: RunConfig) -> Steering | None:
    """Return what a caller's command adds to an input that begins at START."""
    given = bool(config.goto) or config.steers
    return Steering(goto=config.goto, update=config.steers) if given else None


def _succeeds(loaded: LoadedThread) -> Mapping[str, Any]:
    """Return the previous run's outcome, for callers that are still waiting for it."""
    head = loaded.head
    return {
        "before": head.run_id,
        "before_status": str(head.status),
        "before_checkpoint": head.checkpoint_id,
        "before_error": head.error,
    }


def _steering(
    records: Records, thread_id: str, loaded: LoadedThread, config: RunConfig, value: Any
) -> Steering | None:
    """Return how a run begins on a thread that may have steps left.

    A thread that a node paused goes on at that node, and so does one that a command steers; else
    what is left is dropped, or its completed part applied, or the run refused, by `on_pending`.
    """
    rest = [step for step in loaded.steps.values() if not step.completed]
    paused = loaded.head.status is RunStatus.PAUSED and paused_by_node(loaded) is not None
    begins = any(step.step.node == START for step in rest)  # It has not begun: nothing is kept.
    goes_on = (config.steers or paused) and not begins
    if rest and not goes_on and config.on_pending == "reject":
        nodes = ", ".join(repr(step.step.node) for step in rest)
        msg = (
            f"the thread {thread_id!r} has steps left in {nodes}, and on_pending='reject'. Resume "
            f"it with None, or start anew with on_pending='discard' or 'apply'"
        )
        raise ThreadBusyError(msg)
    if not goes_on and config.on_pending != "apply":
        return _command_of(config)
    done = tuple(
        (s.step.planned, loaded.outcome(s.step.step_id))
        for s in loaded.steps.values()
        if s.completed and loaded.head.status is not RunStatus.SUCCEEDED
    )
    given = {}
    if config.resume is not MISSING:
        given = answers_given(thread_id, loaded, config.resume)
    kept = tuple(_kept(records, loaded, step, given) for step in rest) if goes_on else None
    if kept is not None and paused and not config.steers:
        kept = tuple(replace(one, given=value) for one in kept)
    hooked = goes_on and records.decode(loaded.head.config).get("on_resume")
    reason = ("pause" if paused else "command") if hooked else ""
    return Steering(kept=kept, goto=config.goto, done=done, reason=reason)


def accept_at(
    records: Records,
    where: Placement,
    spec: GraphSpec,
    config: RunConfig,
    spot: Spot,
    loaded: LoadedThread,
    before: LoadedThread,
) -> Commit:
    """Accept a run of a subgraph that begins with what a checkpoint of it had left to do.

    Args:
        records: how things are stored.
        where: which thread and graph, and where steps run.
        spec: the graph.
        config: what the run is started with.
        spot: the checkpoint, and what its steps and their subgraphs begin with.
        loaded: the thread at its head.
        before: the thread at the checkpoint.

    Raises:
        ThreadBusyError: if the thread's run is active.
    """
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
    stands_on = replace(config, base=base.id)
    accepted = RunAccepted(
        run=config.run_id,
        graph=where.graph,
        checkpoint=checkpoint.id,
        steps=tuple(step.step_id for step in ready),
        **_succeeds(loaded),
    )
    return Commit(
        thread_id=where.thread_id,
        expect_head=loaded.head.checkpoint_id,
        expect_status=(loaded.head.status,),
        checkpoint=records.store_checkpoint(checkpoint),
        ready=ready,
        status=RunStatus.QUEUED if ready else RunStatus.SUCCEEDED,
        head=new_head(records, where, stands_on, checkpoint.step),
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


def go_on(
    records: Records,
    where: Placement,
    loaded: LoadedThread,
    head: Mapping[str, str | int | bytes],
    *,
    reason: str,
    given: Mapping[str, Any],
    call: Mapping[str, Any] | None,
) -> Commit:
    """Let a run go on whose graph has a hook for that: the hook's step first, then what is left.

    Args:
        records: how things are stored.
        where: which thread and graph, and where steps run.
        loaded: the thread at its head, with values.
        head: the head's fields of a run that goes on.
        reason: why it goes on.
        given: answers to open questions.
        call: what is known of the call by which it does; see `RunConfig.call`.
    """
    before = records.checkpoint(loaded.checkpoint.header, loaded.checkpoint.plan)
    metadata = before.metadata
    if call is not None:
        metadata = branches.remarked(metadata, call["marks"])
    steps = loaded.steps.values()
    steering = Steering(
        kept=tuple(_kept(records, loaded, s, given) for s in steps if not s.completed),
        done=tuple((s.step.planned, loaded.outcome(s.step.step_id)) for s in steps if s.completed),
        reason=reason,
    )
    checkpoint = accept_input(
        before,
        None,
        new_id=mint_checkpoint_id(loaded.head.checkpoint_id, loaded.now_ms),
        now_ms=loaded.now_ms,
        metadata=metadata,
        steering=steering,
    )
    ready = steps_of(checkpoint, where, None)
    resumed = RunResumed(
        from_=str(loaded.head.status),
        reason=reason,
        checkpoint=checkpoint.id,
        steps=(ready[0].step_id,),
        done=(),
    )
    return Commit(
        thread_id=where.thread_id,
        expect_head=loaded.head.checkpoint_id,
        expect_run=loaded.head.run_id,
        expect_status=(loaded.head.status,),
        checkpoint=records.store_checkpoint(checkpoint),
        ready=ready,
        status=RunStatus.RUNNING,
        head={**head, "stop": int(head["stop"]) + 1},
        events=(resumed.draft(),),
    )


def _kept(
    records: Records, loaded: LoadedThread, step: LoadedStep, given: Mapping[str, Any]
) -> Kept:
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
    records: Records, where: Placement, config: RunConfig, superstep: int
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
        "graph": where.graph,
        "fingerprint": config.fingerprint,
        "run_id": config.run_id,
        "config": records.check("the config", given),
        "local": int(not where.default_queue),
        "owner": config.owner,
        "resumes": 0,
        "stop": superstep + config.recursion_limit,
        "error": b"",
    }
