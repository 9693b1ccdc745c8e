"""The calls that change a thread, each decided on the thread as it is and committed at once.

If the thread changed between loading and committing, the call is decided anew: it then succeeds, or
raises what is wrong now. (INV-9)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any, TypeVar

from orchestrator import limits
from orchestrator.channels import MISSING
from orchestrator.checkpointer.base import Checkpointer, commit_to
from orchestrator.client.options import (
    CallOptions,
    ConfigError,
    SubmitOptions,
    ThreadConfig,
    parse_config,
)
from orchestrator.client.snapshot import namespace_below
from orchestrator.clock import Clock, SystemClock
from orchestrator.engine import resume as resumption
from orchestrator.engine import run_queue
from orchestrator.engine.accept import (
    RunConfig,
    accept,
    accept_at,
    end_hold,
    find_run,
    paused_by_node,
    plain,
)
from orchestrator.engine.carryover import Spot
from orchestrator.engine.questions import answers_given, id_named, open_questions
from orchestrator.engine.records import Records
from orchestrator.engine.rollback import damage_to_state
from orchestrator.engine.settle import Decider, Placement
from orchestrator.errors import (
    EmptyInputError,
    InvalidUpdateError,
    NoPendingInterruptError,
    StateCorruptedError,
    ThreadBusyError,
    UnknownThreadError,
    UnknownTypeError,
)
from orchestrator.graph.routing import Command, own
from orchestrator.graph.spec import GraphSpec
from orchestrator.ids import check_thread_id, checkpoint_text, child_thread, new_uuid, root_thread
from orchestrator.integrations.validation import check_answer
from orchestrator.model.commit import Commit, LoadedThread, ReadyStep, Refusal
from orchestrator.step.async_loop import check_cancelled
from orchestrator.step.held_claims import LEASE_TTL_S, owner_is_dead
from orchestrator.step.invoke import updates_of
from orchestrator.step.next_run import begin_next
from orchestrator.step.recovery import Resume, roll_back

_C = TypeVar("_C", Commit, Commit | None)
_DECISIONS_MAX = 8  # How often a call is decided anew before it gives up.
_WAIT_S = 2.0  # How long one read of the events of a busy thread waits.
_PAGE = 100  # Checkpoint ids that are asked for at once.
_HELD_POLL_S = 0.05  # How often a thread that another call holds is polled.


def run_config(
    parsed: ThreadConfig, options: CallOptions | SubmitOptions, spec: GraphSpec | None
) -> RunConfig:
    """Return what a run is started with besides its input, for every entrance alike.

    Args:
        parsed: the config of the call.
        options: its options, checked.
        spec: the graph, if the caller has it.
    """
    return RunConfig(
        run_id=new_uuid(),
        fingerprint=spec.fingerprint if spec else "",
        state_version=spec.lineage.version if spec else None,
        recursion_limit=parsed.recursion_limit or limits.RECURSION_LIMIT_DEFAULT,
        metadata=parsed.metadata,
        configurable=parsed.configurable,
        resumes_max=parsed.resumes_max,
        on_pending=options.get("on_pending") or "discard",
        on_corrupt=options.get("on_corrupt") or "raise",
        multitask=options.get("multitask_strategy") or "reject",
    )


def checked_submitted(config: Mapping[str, Any] | None, thread_id: Any) -> ThreadConfig:
    """Understand the config of a run that this process does not wait for.

    Raises:
        ConfigError: if it has what only a call that waits can use, or names two threads.
    """
    named = {} if thread_id is None else {"thread_id": check_thread_id(thread_id)}
    parsed = parse_config({**(config or {}), **named})
    unused = next((key for key in ("callbacks", "run_id") if parsed.more.get(key)), "")
    if unused:
        msg = (
            f"{unused} must not be in the config of submit: handlers hear of a run in the process "
            f"that waits for it. Leave it out, or call invoke on the graph with a CeleryExecutor"
        )
        raise ConfigError(msg)
    if parsed.ns or parsed.names.get("checkpoint_id"):
        msg = (
            "the config of submit must name a thread only: a submitted run begins at its latest "
            "checkpoint. Leave out checkpoint_id and checkpoint_ns, or fork the thread there first"
        )
        raise ConfigError(msg)
    return parsed


def checked_input(spec: GraphSpec | None, value: Any) -> Any:
    """Return the input of a submitted run.

    Raises:
        InvalidUpdateError: if it is a `Command`, or no update of the graph's state.
    """
    value = own(value)
    if isinstance(value, Command):
        msg = (
            f"the input of submit must be an update of the state ({value!r:.100}): answer with "
            f"client.resume(thread_id, answer), or give the Command to invoke on the graph"
        )
        raise InvalidUpdateError(msg)
    if spec is not None and spec.start.action is None:
        updates_of(spec, spec.start, value)
    return value


@dataclass(slots=True)
class Calls:
    """The calls on the threads of one checkpointer."""

    store: Checkpointer
    records: Records
    default_queue: str = ""
    owner: str = ""  # The process that runs the steps, when no fleet does.
    clock: Clock = field(default_factory=SystemClock)
    parent: tuple[str, str] | None = None  # (thread, step) below which a new thread begins.

    def accept(
        self,
        thread_id: str,
        graph: str,
        value: Any,
        config: RunConfig,
        checkpoint_id: int | None = None,
    ) -> tuple[str, tuple[ReadyStep, ...]]:
        """Accept a run; return its id and its first steps.

        Under a known idempotency key: the id of the run accepted under it, and no steps. (INV-1)
        A run that waits in line has no steps yet.

        Args:
            thread_id: the thread.
            graph: the name of the graph.
            value: the input.
            config: what the run is started with besides.
            checkpoint_id: the checkpoint from which the run starts, if not the latest.

        Raises:
            ThreadBusyError: if the thread's run is active, and `config` rejects then.
            UnknownThreadError: if the checkpoint is none of the thread's.
            UnserializableValueError: if the input cannot be stored.
        """
        where = Placement(thread_id, graph, self.default_queue, config.queue)
        decider = Decider(self.records, where)
        loaded: LoadedThread | None = None
        stopped = False  # Whether a run was stopped for this one.
        for attempt in range(_DECISIONS_MAX):
            if attempt or config.key is None or config.multitask != "reject":
                loaded = self._load(thread_id, config)
            if loaded is not None and config.multitask != "reject" and not _has_ended(loaded):
                known = self._run_under(config.key, thread_id)
                if known:
                    return known, ()
                if config.multitask == "enqueue":
                    return self._enqueue(decider, value, config, loaded)
                if not stopped:
                    self.records.check("the input", plain(value))  # Before anything is stopped.
                    config, checkpoint_id = self._stop(thread_id, config, loaded)
                    stopped = True
                    continue
            before = self.at(thread_id, checkpoint_id) if checkpoint_id is not None else None
            now_ms = loaded.now_ms if loaded else self.clock.now_ms()
            try:
                if loaded is not None and config.on_corrupt == "restart" and not config.fresh:
                    self._check_values(thread_id)
                commit = accept(decider, value, config, loaded, now_ms=now_ms, before=before)
            except StateCorruptedError:
                config = self._mended(thread_id, config)
                continue
            self._check(loaded, config.resume)
            self._hold(config.owner)
            if commit.expect_new:
                commit = replace(commit, parent=self.parent)
            result = commit_to(self.store, commit)
            if result.refused is None:
                return config.run_id, commit.ready
            if result.refused is Refusal.UNKNOWN_STEP and self.parent is not None:
                raise _parent_gone(*self.parent)
            if result.refused is Refusal.KEY_USED:
                return result.detail, ()
            if result.refused is Refusal.HELD:
                self._release_hold(thread_id, result.detail, loaded, config.multitask)
        raise _unsettled(thread_id)

    def accept_at(
        self, where: Placement, spec: GraphSpec, config: RunConfig, spot: Spot
    ) -> tuple[ReadyStep, ...]:
        """Accept a run that begins with what a checkpoint of its thread had left to do.

        Args:
            where: the thread, and where its steps run.
            spec: the graph.
            config: what the run is started with.
            spot: the checkpoint.

        Raises:
            ThreadBusyError: if the thread's run is active.
            UnknownThreadError: if the checkpoint is none of the thread's.
        """
        decider = Decider(self.records, where)
        before = self.at(where.thread_id, spot.checkpoint_id)

        def decide(loaded: LoadedThread | None) -> Commit:
            assert loaded is not None, "a thread that has a checkpoint exists"
            return accept_at(decider, spec, config, spot, loaded=loaded, before=before)

        self._hold(config.owner)
        return self.edit(where.thread_id, decide).ready

    def history(self, thread_id: str) -> Iterator[int]:
        """Iterate over the ids of a thread's checkpoints, newest first."""
        before: int | None = None
        while page := self.store.history(thread_id, before=before, limit=_PAGE):
            yield from page
            before = page[-1]

    def _release_hold(
        self, thread_id: str, holder: str, loaded: LoadedThread | None, multitask: str = "reject"
    ) -> None:
        """End another call's hold on a thread, or wait for its end, or refuse this call.

        Raises:
            ThreadBusyError: if the call that holds it runs, and `multitask` rejects then.
        """
        dead = owner_is_dead(holder)
        if multitask == "enqueue" and not dead:
            self.clock.sleep(_HELD_POLL_S)
            return
        if multitask == "reject" and not dead:
            raise held(thread_id)
        commit_to(self.store, end_hold(thread_id, holder, is_new=loaded is None))

    def _mended(self, thread_id: str, config: RunConfig) -> RunConfig:
        """Set a damaged thread back; return how a run begins on it, or raise the error again."""
        try:
            if not self._rolled_back(thread_id, afresh=True):
                raise  # noqa: PLE0704 - called while the error is handled
        except UnknownTypeError:
            raise  # The thread is whole: to begin on an empty state would lose it.
        except StateCorruptedError:
            if config.on_corrupt != "restart" or config.fresh:
                raise
            return replace(config, fresh=True)
        return config

    def _check_values(self, thread_id: str) -> None:
        """Raise if a value is damaged: to begin a run takes none, and its first step takes all."""
        loaded = self.store.load(thread_id)
        if loaded is not None and (why := damage_to_state(self.records, loaded)):
            raise StateCorruptedError(why)

    def _enqueue(
        self, decider: Decider, value: Any, config: RunConfig, loaded: LoadedThread
    ) -> tuple[str, tuple[ReadyStep, ...]]:
        """Let a run wait until the one there is has ended."""
        thread_id = decider.where.thread_id
        run_queue.check(thread_id, config, loaded)
        while config.owner:  # It is to be this process's own: the process itself waits.
            check_cancelled()
            self.store.events(thread_id, after=loaded.seq, wait_s=_WAIT_S)
            loaded = self._load(thread_id, config) or loaded
            if _has_ended(loaded):
                with suppress(ThreadBusyError):  # Another one was faster.
                    alone = replace(config, multitask="reject")
                    return self.accept(thread_id, decider.where.graph, value, alone)
        result = commit_to(self.store, run_queue.enqueue(decider, value, config, loaded))
        if result.refused is Refusal.KEY_USED:
            return result.detail, ()
        return config.run_id, self.begin_next(thread_id) if result.waiting else ()

    def _run_under(self, key: str | None, thread_id: str) -> str:
        """Return the run that a thread accepted under an idempotency key, if it did."""
        if key is None:
            return ""
        asked = commit_to(self.store, find_run(thread_id, key))
        return asked.detail if asked.refused is Refusal.KEY_USED else ""

    def begin_next(self, thread_id: str) -> tuple[ReadyStep, ...]:
        """Let the next run in a thread's line begin, if it may; return its steps."""
        return begin_next(self.store, thread_id)

    def _stop(
        self, thread_id: str, config: RunConfig, loaded: LoadedThread
    ) -> tuple[RunConfig, int | None]:
        """Stop the run there is; return how the next one begins, and on which checkpoint."""
        if not self._end(thread_id, loaded.head.run_id):
            raise _unsettled(thread_id)
        if config.multitask == "interrupt":
            return replace(config, on_pending="apply"), None
        base = self.records.decode(loaded.head.config).get("base")
        return replace(config, fresh=base is None), base

    def _load(self, thread_id: str, config: RunConfig) -> LoadedThread | None:
        """Return the thread, after releasing the claims of dead local processes."""
        loaded = self.store.load(thread_id, values=False)
        if loaded is None:
            return None
        self._bury(loaded)
        applies = config.on_pending == "apply" or config.multitask == "interrupt"
        needs_values = config.keeps_steps or applies or paused_by_node(loaded) is not None
        return self.store.load(thread_id, values=needs_values)

    def _hold(self, owner: str) -> None:
        """Take the lease before the ownership, so that the run never seems abandoned."""
        if owner:
            self.store.renew([owner], ttl_s=LEASE_TTL_S)

    def _owned(self, commit: _C) -> _C:
        """Say whose run it is from now on."""
        self._hold(self.owner)
        return commit and replace(commit, head={**commit.head, "owner": self.owner})

    def _bury(self, loaded: LoadedThread) -> None:
        """Release what processes of this host held that have died without a keeper."""
        owners = {step.owner for step in loaded.steps.values()} | {loaded.head.owner}
        for owner in owners:
            if owner and loaded.head.status.active and owner_is_dead(owner):
                self.store.release(owner)

    def at(self, thread_id: str, checkpoint_id: int) -> LoadedThread:
        """Return the thread at a checkpoint, with values.

        Raises:
            UnknownThreadError: if the checkpoint is none of the thread's.
        """
        loaded = self.store.load(thread_id, checkpoint_id=checkpoint_id)
        if loaded is None:
            text = checkpoint_text(checkpoint_id)
            msg = f"the thread {root_thread(thread_id)[0]!r} has no checkpoint {text!r}"
            raise UnknownThreadError(msg)
        return loaded

    def _check(self, loaded: LoadedThread | None, resume: Any, to: str | None = None) -> None:
        """Refuse answers that do not fit what was asked for."""
        if loaded is None or resume is MISSING:
            return
        questions = open_questions(loaded)
        for i, value in answers_given("", loaded, resume, to).items():
            asked = self.records.interrupt(questions[i].asks[i])
            check_answer(i, asked.response_schema, value)

    def answer(
        self,
        thread_id: str,
        resume: Any,
        to: str | None = None,
        *,
        recursion_limit: int | None = None,
        call: Mapping[str, Any] | None = None,
    ) -> tuple[ReadyStep, ...]:
        """Store answers; return the steps that can continue. (INV-8)

        Raises:
            UnknownThreadError: if there is no such thread.
            NoPendingInterruptError: if nothing is open, or it was answered already.
            UnknownInterruptError: if an id is not open, or must be given.
        """

        def decide(loaded: LoadedThread) -> Commit:
            named = id_named(loaded, to, self.records.interrupt)
            decider = Decider.of(self.records, thread_id, loaded, self.default_queue)
            decided = resumption.answer(
                decider, loaded, resume, to=named, recursion_limit=recursion_limit, call=call
            )
            self._check(loaded, resume, named)
            return self._owned(decided)

        commit = self._decide(thread_id, decide, lambda _: "answer")
        return _ready(commit) if commit else ()

    def carry_on(
        self,
        thread_id: str,
        recursion_limit: int | None = None,
        call: Mapping[str, Any] | None = None,
    ) -> tuple[ReadyStep, ...] | None:
        """Continue a run that failed, paused or was cancelled; return its steps, `None`: it ended.

        Raises:
            EmptyInputError: if there is no such thread.
            ThreadBusyError: if the run is active.
        """
        loaded = self.store.load(thread_id, values=False)
        if loaded is None:
            msg = f"there is no thread {thread_id!r} to continue: give it an input to start a run"
            raise EmptyInputError(msg)
        self._bury(loaded)

        def decide(loaded: LoadedThread) -> Commit | None:
            decider = Decider.of(self.records, thread_id, loaded, self.default_queue)
            return self._owned(
                resumption.carry_on(decider, loaded, recursion_limit=recursion_limit, call=call)
            )

        try:
            commit = self._decide(thread_id, decide, resumption.reason_of)
        except StateCorruptedError:
            if not self._rolled_back(thread_id):
                raise
            commit = self._decide(thread_id, decide, resumption.reason_of)
        if commit is None and self._rolled_back(thread_id):  # What it ended with is damaged.
            commit = self._decide(thread_id, decide, resumption.reason_of)
        return None if commit is None else _ready(commit)

    def _rolled_back(self, thread_id: str, *, afresh: bool = False) -> bool:
        """Roll a thread back if it is damaged; return whether it was."""
        queue = self.default_queue
        return roll_back(self.store, self.records, thread_id, queue, afresh=afresh) is not None

    def cancel(self, thread_id: str, run_id: str = "") -> bool:
        """End a run, also one that waits in line; return whether there was one to end.

        Args:
            thread_id: the thread.
            run_id: the run; empty: the one that is there.

        Raises:
            UnknownThreadError: if there is no such thread.
        """
        if run_id and commit_to(self.store, run_queue.withdraw(thread_id, run_id)).refused is None:
            return True
        return self._end(thread_id, run_id)

    def _end(self, thread_id: str, run_id: str) -> bool:
        loaded = self.store.load(thread_id, values=False)

        def decide(loaded: LoadedThread) -> Commit | None:
            mine = run_id in {"", loaded.head.run_id}
            return resumption.cancel(thread_id, loaded) if mine else None

        commit = self._decide(thread_id, decide)
        for step in (loaded.steps if loaded else {}).values():
            ns = namespace_below(thread_id, step.step.node, step.step.step_id)
            child = child_thread(root_thread(thread_id)[0], ns)
            ends = commit is not None and not step.completed
            if ends and self.store.load(child, values=False) is not None:
                self.cancel(child)
        return commit is not None

    def delete(self, thread_id: str, *, keep_head: bool = False, cancel: bool = False) -> None:
        """Delete a thread; see `Checkpointer.delete`.

        Args:
            thread_id: the thread.
            keep_head: whether to delete its history only.
            cancel: whether to cancel its run, and those in line, if there are any.

        Raises:
            UnknownThreadError: if there is no such thread.
            ThreadBusyError: if it has a run that has not ended, and `cancel` is not set.
        """
        for attempt in range(_DECISIONS_MAX):
            refused = self.store.delete(thread_id, keep_head=keep_head)
            if refused is None:
                return
            loaded = self.store.load(thread_id, values=False)
            if refused is Refusal.UNKNOWN_THREAD or loaded is None:
                raise resumption.missing(thread_id)
            if cancel:
                for run_id in (*loaded.line, ""):
                    self.cancel(thread_id, run_id)
            elif attempt:
                break
            else:
                self._bury(loaded)
        root, _ = root_thread(thread_id)
        msg = (
            f"the thread {root!r} is busy: it has a run that has not ended. Nothing of it was "
            f"deleted; wait for the run, or cancel it"
        )
        raise ThreadBusyError(msg)

    def edit(self, thread_id: str, decide: Callable[[LoadedThread | None], Commit]) -> Commit:
        """Commit what `decide` makes of the thread, or of its absence."""
        for _ in range(_DECISIONS_MAX):
            loaded = self.store.load(thread_id)
            commit = decide(loaded)
            result = commit_to(self.store, commit)
            if result.refused is None:
                return commit
            if result.refused is Refusal.HELD:
                self._release_hold(thread_id, result.detail, loaded)
        raise _unsettled(thread_id)

    def _loaded(self, thread_id: str) -> LoadedThread | None:
        """Return the thread; with values where a hook resumes its run."""
        loaded = self.store.load(thread_id, values=False)
        if loaded is not None and self.records.decode(loaded.head.config).get("on_resume"):
            return self.store.load(thread_id)
        return loaded

    def _decide(
        self,
        thread_id: str,
        decide: Callable[[LoadedThread], Commit | None],
        resumes: Callable[[LoadedThread], str] | None = None,
    ) -> Commit | None:
        """Commit what `decide` makes of the thread; `resumes` says why, if its run continues."""
        for _ in range(_DECISIONS_MAX):
            began = perf_counter()
            loaded = self._loaded(thread_id)
            if loaded is None:
                raise resumption.missing(thread_id)
            has_it = perf_counter()
            commit = decide(loaded)
            if commit is None:
                return None
            if resumes is not None:
                load_ms, plan_ms = (has_it - began) * 1000, (perf_counter() - has_it) * 1000
                commit = Resume(resumes(loaded), load_ms, plan_ms).noted(loaded, commit)
            result = commit_to(self.store, commit)
            if result.refused is None:
                Resume.log(commit)
                return commit
            if result.refused is Refusal.NO_INTERRUPT:
                msg = f"the interrupt {result.detail!r} of {thread_id!r} has been answered already"
                raise NoPendingInterruptError(msg)
            if result.refused is Refusal.HELD:
                self._release_hold(thread_id, result.detail, loaded)
        raise _unsettled(thread_id)


def _parent_gone(thread_id: str, step_id: str) -> UnknownThreadError:
    root, _ = root_thread(thread_id)
    return UnknownThreadError(
        f"the subgraph cannot begin: its thread {root!r} was deleted, or no longer has the step "
        f"{step_id}. Nothing was stored; start a new run"
    )


def _ready(commit: Commit) -> tuple[ReadyStep, ...]:
    return commit.ready or tuple(update.step for update in commit.updates)


def _has_ended(loaded: LoadedThread) -> bool:
    """Return whether a thread is free: its run has ended, and no run waits in line."""
    return loaded.head.status.final and not loaded.line


def held(thread_id: str) -> ThreadBusyError:
    """Return the error for a thread that another call holds."""
    return ThreadBusyError(
        f"the thread {thread_id!r} is busy: a call with durability='exit' runs on it and stores "
        f"it when it ends. Wait for that call, or use another thread"
    )


def _unsettled(thread_id: str) -> ThreadBusyError:
    return ThreadBusyError(f"the thread {thread_id!r} kept changing during this call; try it again")
