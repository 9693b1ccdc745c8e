"""Subgraphs: the run of a subgraph is a run on a thread of its own, below its caller's.

The step that runs it is that thread's client: it accepts the run, hands answers down, and takes
the result. Whatever the step's attempts do, the run is the same one: its id follows from the step.

In this process, and where a node's code calls a subgraph, the subgraph's steps run inside the
step. On a fleet, a node that is a graph waits without a worker: its steps go to queues like any,
and the process that ends the run wakes the step. Should that process die in between, the step
polls.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from orchestrator.channels import Overwrite
from orchestrator.checkpointer.base import Checkpointer
from orchestrator.checkpointer.memory import MemoryCheckpointer
from orchestrator.checkpointer.overlay import Overlay
from orchestrator.client.graph_base import GraphBase
from orchestrator.client.log_reader import first_fact
from orchestrator.client.options import ThreadConfig
from orchestrator.client.results import failure_of
from orchestrator.client.snapshot import lasting_namespace, live_values, shown
from orchestrator.client.thread_calls import Calls
from orchestrator.dispatch.local import InProcess
from orchestrator.engine.accept import RunConfig, left_behind, paused_by_node
from orchestrator.engine.branches import belongs, below, crowded, leaves
from orchestrator.engine.carryover import Spot, spot_in
from orchestrator.engine.questions import open_questions
from orchestrator.engine.settle import (
    IN_SUBGRAPH,
    TURN,
    TURN_ABOVE,
    Placement,
    gives_way,
    is_before,
    wake,
)
from orchestrator.errors import (
    GraphInterrupt,
    NoPendingInterruptError,
    ParentCommand,
    StepFailedError,
    ThreadBusyError,
    UnknownInterruptError,
)
from orchestrator.graph.routing import Command, Send
from orchestrator.graph.schema import ROOT, update_items
from orchestrator.ids import child_thread, root_thread, short_hash
from orchestrator.integrations.langchain import GraphRun, child_run
from orchestrator.model.checkpoint import RunStatus
from orchestrator.model.commit import (
    CRASHED,
    HANDED_BACK,
    LoadedThread,
    ReadyStep,
    Wait,
)
from orchestrator.model.lifecycle import RUNS, RunMove
from orchestrator.step.async_loop import check_cancelled
from orchestrator.step.attempt import Attempt
from orchestrator.step.context import namespace_of
from orchestrator.step.facts import Fact, Listener
from orchestrator.step.runner import StepRunner
from orchestrator.step.services import Live
from orchestrator.step.store_access import Access
from orchestrator.step.suspend import ChildPaused, ChildRuns, GivesWay
from orchestrator.step.untracked import split_input

_POLL_MS = 5_000  # How often a waiting step polls its subgraph, should no process wake it.


def surroundings(graph: GraphBase, around: Live | None = None, **more: Any) -> Live:
    """Return what the steps of a graph have in this process.

    Args:
        graph: the graph.
        around: those of the graph around it, whose store and cache serve a graph without its own.
        **more: fields of `Live` that differ: listener, context, config and others.
    """
    outer = around or Live(children=Children())
    store = outer.store if graph.store is None else graph.store
    cache = outer.cache if graph.cache is None else graph.cache
    return replace(outer, store=store, cache=cache, **more)


def step_runner(
    graph: GraphBase, access: Access, queue: str, live: Live | None = None, **options: Any
) -> StepRunner:
    """Return the runner of the steps of a graph, for a caller, a worker or a step.

    Args:
        graph: the graph.
        access: the checkpointer, and the name of the process there.
        queue: where the next steps go; empty: they run in this process.
        live: the surroundings of the steps, if not those of the graph alone.
        **options: other fields of `StepRunner`: where a run pauses, how the next step begins.
    """
    live = live or surroundings(graph)
    return StepRunner(graph.spec, graph.records, access, queue, live, **options)


class Children:
    """Runs subgraphs for a step runner; see `ChildRunner`."""

    def run(self, attempt: Attempt, graph: GraphBase, value: Any, config: Mapping[str, Any]) -> Any:
        """Run `graph` as part of an attempt at a step, and return its output.

        Raises:
            GraphInterrupt: if it asks something.
            ChildRuns: if its steps run elsewhere.
            ChildPaused: if one of its nodes paused it.
            GraphDrained: if it was drained.
            ParentCommand: if a node's code called it, and it says what that node's step does.
            Exception: what failed in it.
        """
        child = _Child.of(attempt, graph, config)
        given = child.given.more if child.given else {}
        with child_run(graph.trace_name, value, {**given, "metadata": child.metadata}) as run:
            child.heard_by(run)
            run.output = child.run(value)
        return run.output

    def ended(self, runner: StepRunner, thread_id: str) -> tuple[ReadyStep, ...]:
        """Wake the step whose subgraph the thread's run is; return what is to be sent."""
        store = runner.access.checkpointer
        child = runner.access.patiently(lambda: store.load(thread_id, values=False))
        parent = runner.records.decode(child.head.config).get("parent") if child else None
        if parent is None:
            return ()
        around, step_id = parent
        loaded = runner.access.patiently(lambda: store.load(around, values=False))
        step = loaded.steps.get(step_id) if loaded else None
        if loaded is None or step is None or step.completed or step.owner:
            return ()
        if step.wait is not Wait.TIMER or step.reason != IN_SUBGRAPH:
            return ()  # It failed in the meantime and waits to be tried again.
        # A process that paused here may find that the step was woken, and has asked, or failed.
        refused = runner.access.commit(wake(step.step, IN_SUBGRAPH)).refused
        return (step.step,) if refused is None else ()


@dataclass(slots=True)
class _Child:
    """One run of a subgraph, seen from the step that runs it."""

    attempt: Attempt
    graph: GraphBase
    runner: StepRunner
    thread_id: str
    run_id: str
    is_node: bool
    spot: Spot | None = None  # Where the run begins, if not with an input.
    given: ThreadConfig | None = None  # What the code that calls it said.

    @classmethod
    def of(cls, attempt: Attempt, graph: GraphBase, how: Mapping[str, Any]) -> _Child:
        """Return the next subgraph run of an attempt; attempts number them alike."""
        given: ThreadConfig | None = how.get("config")
        number = attempt.host.next_child()
        root, _ = root_thread(attempt.step.thread_id)
        spot = spot_in(attempt.frame.checkpoint, attempt.planned, number)
        own = namespace_of(attempt) + (f"|{number}" if number else "")
        ns = lasting_namespace(own) if graph.checkpointer is True else own
        if spot is not None:
            ns = spot.ns
        is_node = attempt.node.subgraph is graph
        outer = attempt.services
        fleet = is_node and bool(outer.default_queue) and graph.checkpointer is not False
        keeps: Checkpointer = outer.access.checkpointer
        known = outer.live.answers
        if graph.checkpointer is False:
            keeps, known = MemoryCheckpointer(), attempt.scope.scratchpad.answers
        runner = step_runner(
            graph,
            outer.access.to(keeps),
            (outer.spec.queue or outer.default_queue) if fleet else "",
            surroundings(
                graph,
                outer.live,
                listener=_both(outer.live.listener, how.get("listener")),
                messages=outer.live.messages or bool(how.get("messages")),
                logs=outer.live.logs or bool(attempt.step.queue),
                answers=known,
            ),
        )
        run_id = short_hash(attempt.step.thread_id, attempt.origin, number)
        if isinstance(keeps, Overlay):
            around = attempt.step.thread_id, attempt.step.step_id
            left = partial(left_behind, graph.records)
            keeps.adopt(child_thread(root, ns), graph.records, around, left)
        return cls(attempt, graph, runner, child_thread(root, ns), run_id, is_node, spot, given)

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Return what the code that calls it adds to the metadata."""
        return {} if self.given is None else self.given.metadata

    def heard_by(self, run: GraphRun) -> None:
        """Let its steps have the callbacks of its run, and what the code that calls it said."""
        config, given = dict(self.runner.live.config), self.given
        if run.has_handlers:
            config["callbacks"] = run.callbacks
        if given is not None:
            tags = [*(config.get("tags") or ()), *(given.more.get("tags") or ())]
            config["metadata"] = {**(config.get("metadata") or {}), **given.metadata}
            config["configurable"] = {**(config.get("configurable") or {}), **given.configurable}
            config |= {"tags": tags} if tags else {}
        self.runner.live = replace(self.runner.live, config=config)

    @property
    def _store(self) -> Checkpointer:
        return self.runner.access.checkpointer

    @property
    def _calls(self) -> Calls:
        queue = self.runner.default_queue
        owner = "" if queue else self.runner.access.owner
        step, clock = self.attempt.step, self.runner.access.clock
        shares = self.attempt.services.access.checkpointer is self._store
        parent = (step.thread_id, step.step_id) if shares else None
        own = queue and (self.graph.spec.queue or queue)
        return Calls(self._store, self.runner.records, own, owner, clock, parent)

    def run(self, value: Any) -> Any:
        """Bring the run to its end, from wherever it is; return its output."""
        check_cancelled()
        loaded = self._load()
        if loaded is None and self.graph.checkpointer is True:
            self._check_turn()
        if self.runner.default_queue:
            return self._on_fleet(value, loaded)
        ready = self._begun(value, loaded)
        error = None
        if self.runner.live.listener is not None and ready is not None:
            self._report_start(resumes=loaded is not None)
        if ready is not None:
            error = self._executor.proceed(self.runner, self.thread_id, ready, self.run_id)
        if error is not None:
            raise error
        loaded = self._load()
        assert loaded is not None
        return self._taken(loaded)

    def _check_turn(self) -> None:
        """Let steps come first that are before this one in the plan, or before one around it.

        Raises:
            GivesWay: if there are any.
        """
        step, given = self.attempt.step, self.attempt.given
        if not step.solo and self._is_before(step.thread_id, step.step_id):
            raise GivesWay(TURN)
        around = given.get("parent")
        if not crowded(self.attempt.frame.checkpoint.metadata):
            return
        while around is not None:
            thread_id, step_id = around
            if self._is_before(thread_id, step_id):
                raise GivesWay(TURN_ABOVE)
            loaded = self._lightly(thread_id)
            given = self.runner.records.decode(loaded.head.config) if loaded else {}
            around = given.get("parent")

    def _is_before(self, thread_id: str, step_id: str) -> bool:
        loaded = self._lightly(thread_id)
        return loaded is not None and is_before(loaded, step_id)

    def _lightly(self, thread_id: str) -> LoadedThread | None:
        """Return a thread without its values."""
        access = self.attempt.services.access
        return access.patiently(lambda: access.checkpointer.load(thread_id, values=False))

    @property
    def _executor(self) -> InProcess:
        """Return the executor of its steps here, with the limits of the call and of the graph."""
        size = self.runner.live.config.get("max_concurrency")
        return InProcess(concurrency_max=size, step_timeout_s=self.graph.step_timeout)

    def _report_start(self, *, resumes: bool) -> None:
        loaded, listener = self._load(), self.runner.live.listener
        assert loaded is not None
        assert listener is not None
        records, spec = self.runner.records, self.runner.spec
        listener(first_fact(self.thread_id, loaded, records, spec, resumes=resumes))

    def _on_fleet(self, value: Any, loaded: LoadedThread | None) -> Any:
        """Take the result if there is one; else wait, after starting what is to be started."""
        if loaded is not None:
            status = loaded.head.status
            reported = self._mark(loaded) in self.attempt.notes
            answered = set(open_questions(loaded)) & set(self._answers())
            # A step that was woken takes the result; one that was resumed continues the run.
            woken = self.attempt.claim.reason in {IN_SUBGRAPH, CRASHED, HANDED_BACK}
            is_over = woken and not (status.active or reported or answered)
            if status is RunStatus.SUCCEEDED or is_over:
                return self._taken(loaded)
        raise ChildRuns(_POLL_MS, lambda: self._begun_on_fleet(value))

    def _begun_on_fleet(self, value: Any) -> tuple[ReadyStep, ...]:
        """Begin or continue the run, unless another attempt at the step has done it."""
        with suppress(ThreadBusyError, NoPendingInterruptError, UnknownInterruptError):
            return self._begun(value, self._load()) or ()
        return ()

    def _load(self) -> LoadedThread | None:
        """Return the run, or `None` while it has not begun."""
        loaded = self.runner.access.load(self.thread_id)
        return loaded if loaded and loaded.head.run_id == self.run_id else None

    def _answers(self) -> Mapping[str, Any]:
        return self.attempt.scope.scratchpad.answers

    def _begun(self, value: Any, loaded: LoadedThread | None) -> tuple[ReadyStep, ...] | None:
        """Do as `_next`, until the store answers: that it is away is not the step's failure."""
        seen = [loaded]

        def begin() -> tuple[ReadyStep, ...] | None:
            again = not seen
            now = self._load() if again else seen.pop()
            if again and now is not None and self._is_ours(now):
                return ()  # It was done, and only the answer was lost: its steps are stored.
            return self._next(value, now)

        return self.runner.access.patiently(begin)

    def _is_ours(self, loaded: LoadedThread) -> bool:
        """Return whether the run continues already, on a fleet or in this process."""
        mine = loaded.head.owner == self.runner.access.owner
        return loaded.head.status.active and (mine or bool(self.runner.default_queue))

    def _given(self, value: Any) -> Any:
        """Return the input of the run: what the state around has of its keys.

        A value of the state around is no update: it takes the place of a declared default.
        """
        plain, spec = _known(self.graph, value), self.graph.spec
        if not self.runner.default_queue:  # Else another process may accept the input.
            plain, own = split_input(plain, spec)
            self.runner.live.untracked.set(self.thread_id, own)
        is_update = not self.is_node or self.graph.checkpointer is True
        if is_update or not spec.begun or not isinstance(plain, dict):
            return plain
        return {k: Overwrite(held) if k in spec.begun else held for k, held in plain.items()}

    def _next(self, value: Any, loaded: LoadedThread | None) -> tuple[ReadyStep, ...] | None:
        """Begin or continue the run; return the steps that are ready, `None` for nothing."""
        calls = self._calls
        if loaded is None:
            name = f"{self.attempt.step.graph}|{self.attempt.step.node}"
            if self.spot is not None:
                config = self._config()
                queue = self.runner.default_queue
                where = Placement(self.thread_id, name, queue, config.queue)
                return calls.accept_at(where, self.graph.spec, config, self.spot) or None
            plain, config, at = self._given(value), *self._begins_at()
            once = replace(config, key=self.run_id)
            ready = calls.accept(self.thread_id, name, plain, once, at)[1]
            if ready:
                return ready
            begun = self._load()
            if begun is not None:  # Another attempt at the step was faster, and may have ended it.
                return self._next(value, begun)
            # A lasting subgraph, which other steps have run since.
            return calls.accept(self.thread_id, name, plain, config, at)[1]
        status = loaded.head.status
        if status is RunStatus.SUCCEEDED or (status.active and self.runner.default_queue):
            return None
        if isinstance(self.attempt.input, Mapping) and paused_by_node(loaded) is not None:
            mine = {k: v for k, v in self.attempt.input.items() if k in self.graph.spec.state_keys}
            return calls.accept(self.thread_id, loaded.head.graph, mine, self._config())[1]
        known = self._answers()
        given = {i: known[i] for i in open_questions(loaded) if i in known}
        if given and status in RUNS[RunMove.ANSWER].before:  # What was cancelled asks again first.
            return calls.answer(self.thread_id, given, call=self._config().call)
        return calls.carry_on(self.thread_id, call=self._config().call)

    def _begins_at(self) -> tuple[RunConfig, int | None]:
        """Return the options of the run, and the checkpoint where it begins, if not the latest.

        A lasting subgraph continues from its newest checkpoint that was made on this branch of the
        graph around it, or before the branch began. Where nothing is kept, it begins anew.
        """
        config = self._config()
        if self.graph.checkpointer is True and not self.runner.live.keeps:
            return replace(config, fresh=True), None
        if self.graph.checkpointer is not True or not leaves(
            self.attempt.frame.checkpoint.metadata
        ):
            return config, None
        for at in self._calls.history(self.thread_id):
            loaded = self._store.load(self.thread_id, checkpoint_id=at, values=False)
            if loaded is None:
                continue
            made = self.runner.records.checkpoint(loaded.checkpoint.header)
            if belongs(made.metadata, at, config.branch):
                return config, None if at == loaded.head.checkpoint_id else at
        return replace(config, fresh=True), None

    def _config(self) -> RunConfig:
        given, step = self.attempt.given, self.attempt.step
        metadata, configurable = given.get("metadata", {}), given.get("configurable", {})
        marks = given.get("marks")
        return RunConfig(
            run_id=self.run_id,
            fingerprint=self.graph.spec.fingerprint,
            recursion_limit=given["recursion_limit"],
            metadata=metadata,
            configurable=configurable,
            above=marks,
            context=given.get("context"),
            messages=bool(given.get("messages")),
            queue=given.get("queue", ""),
            owner="" if self.runner.default_queue else self.runner.access.owner,
            parent=(step.thread_id, step.step_id),
            branch=below(
                self.attempt.frame.checkpoint, step.thread_id, step.step_id, alone=step.solo
            ),
        )

    def _mark(self, loaded: LoadedThread) -> str:
        """Return the note that the step has reported this end or pause."""
        return f"rest:{self.thread_id}:{loaded.head.resumes}"

    def _taken(self, loaded: LoadedThread) -> Any:
        """Return the output of a run that succeeded; raise its error, its pause or its question."""
        records, head = self.runner.records, loaded.head
        if head.status is RunStatus.SUCCEEDED:
            return self._output(loaded)
        notes = {self._mark(loaded): b"1"}
        questions = open_questions(loaded)
        if head.status is RunStatus.PAUSED:
            paused = paused_by_node(loaded)
            if paused is not None:
                raise ChildPaused(paused.reason, notes)
            if not questions and any(map(gives_way, loaded.steps.values())):
                step = self.attempt.step
                outermost = not root_thread(step.thread_id)[1]
                waits = outermost or self._is_before(step.thread_id, step.step_id)
                raise GivesWay(TURN if waits else TURN_ABOVE)
            asked = [records.interrupt(step.asks[i]) for i, step in questions.items()]
            raise GraphInterrupt(tuple(asked))
        error = failure_of(root_thread(self.thread_id)[0], loaded, records)
        if isinstance(error, StepFailedError):
            error.notes_for_step = notes
        raise error

    def _output(self, loaded: LoadedThread) -> Any:
        records, spec = self.runner.records, self.graph.spec
        checkpoint = records.checkpoint(loaded.checkpoint.header, loaded.checkpoint.plan)
        command = checkpoint.control.get(Command.PARENT)
        if command is not None:
            update, targets = command
            leads: Command[Any] = Command(update=update, goto=[_target(t) for t in targets])
            if not self.is_node:
                raise ParentCommand(leads)  # The code that called it does not continue.
            return leads
        return shown(live_values(checkpoint, loaded, records, spec), spec, spec.output_keys)


def _both(one: Listener | None, other: Listener | None) -> Listener | None:
    if one is None or other is None:
        return one or other

    def both(fact: Fact) -> None:
        one(fact)
        other(fact)

    return both


def _target(plain: Any) -> Any:
    return plain if isinstance(plain, str) else Send(*plain)


def _known(graph: GraphBase, value: Any) -> Any:
    """Return what a subgraph takes of the state around it: the keys of its input."""
    keys = graph.spec.input_keys
    if keys == (ROOT,):
        return value
    if isinstance(value, Mapping):
        return {key: held for key, held in value.items() if key in keys}
    items = update_items(value, keys)  # Of the state around, whose class the subgraph may not know.
    return value if items is None else dict(items)
