"""A graph that can be run: in this process, or on a fleet, by the same calls."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from orchestrator import limits
from orchestrator.channels import MISSING
from orchestrator.checkpoint.commit import Commit, LoadedThread, ReadyStep
from orchestrator.checkpointer.base import Checkpointer
from orchestrator.checkpointer.memory import MemoryCheckpointer
from orchestrator.client.calls import Calls
from orchestrator.client.editing import edit
from orchestrator.client.results import outcome_of
from orchestrator.client.snapshot import StateSnapshot, config_of, snapshot
from orchestrator.client.threadconfig import ConfigError, ThreadConfig, parse_config
from orchestrator.core.calling import RunConfig
from orchestrator.core.records import Records
from orchestrator.core.stepping import Stepping
from orchestrator.errors import (
    EmptyInputError,
    GraphMismatchError,
    InvalidUpdateError,
    NoPendingInterruptError,
    UnknownThreadError,
)
from orchestrator.execute.base import Executor
from orchestrator.execute.inprocess import InProcess
from orchestrator.graph.builder import GraphBuilder
from orchestrator.graph.drawing import Drawing, drawing_of
from orchestrator.graph.routing import Command
from orchestrator.graph.spec import GraphSpec
from orchestrator.ids import new_uuid
from orchestrator.serde.msgpack import Codec
from orchestrator.step.access import Access, new_owner
from orchestrator.step.call import updates_of
from orchestrator.step.protocol import StepProtocol

__all__ = ["CompiledStateGraph", "StateGraph"]

_Config = Mapping[str, Any] | str | None


class StateGraph(GraphBuilder):
    """A graph over a typed state: nodes read it and return updates of it."""

    def compile(
        self,
        checkpointer: Checkpointer | None = None,
        *,
        name: str | None = None,
        interrupt_before: Iterable[str] | Literal["*"] = (),
        interrupt_after: Iterable[str] | Literal["*"] = (),
        executor: Executor | None = None,
    ) -> CompiledStateGraph:
        """Check the graph and return it ready to run.

        Args:
            checkpointer: keeps threads, so that runs can pause and resume. Without one, each call
                is on its own and forgotten when it returns.
            name: under which workers and people know the graph.
            interrupt_before: nodes before which a run pauses; `"*"` for all.
            interrupt_after: nodes after which a run pauses.
            executor: who runs the steps, if not this process.

        Raises:
            InvalidGraphError: if something is wrong with the graph.
        """
        spec = self.freeze(name or "graph", interrupt_before, interrupt_after)
        return CompiledStateGraph(spec, checkpointer=checkpointer, executor=executor)


class CompiledStateGraph:
    """A frozen graph with a place for its threads and somebody to run its steps."""

    def __init__(
        self,
        spec: GraphSpec,
        *,
        checkpointer: Checkpointer | None = None,
        executor: Executor | None = None,
    ) -> None:
        """Bring graph, checkpointer and executor together; `StateGraph.compile` does it for you."""
        self.spec = spec
        self.executor: Executor = executor or InProcess()
        self.checkpointer = checkpointer or self.executor.checkpointer()
        codec = Codec()
        for cls in spec.classes:
            codec.register_class(cls)
        self.records = Records(codec.encode, codec.decode)
        self._owner = new_owner()

    @property
    def name(self) -> str:
        """Return the name under which workers and people know the graph."""
        return self.spec.name

    # ---- running ------------------------------------------------------------------------

    def invoke(self, input: Any, config: _Config = None) -> Any:  # noqa: A002 - LangGraph's name
        """Run until the run ends or pauses; return the state's output keys.

        Args:
            input: an update of the state for a new run; `None` to go on where the thread stopped;
                `Command(resume=…)` to answer what it asked.
            config: names the thread, as `{"configurable": {"thread_id": "t"}}`, `{"thread_id":
                "t"}` or `"t"`.

        Returns:
            the output; with `"__interrupt__"`: the open questions, if the run asks something.

        Raises:
            EmptyInputError: for `None` on a thread that does not exist.
            ThreadBusyError: if the thread's run is active.
            NoPendingInterruptError: for an answer to a thread that asks nothing.
            GraphMismatchError: if what is left to run was planned by a graph of another structure.
            StepFailedError: if a node failed in another process; here, what it raised itself.
        """
        parsed = parse_config(config)
        store = self.checkpointer
        if store is None:
            store, thread_id = MemoryCheckpointer(), parsed.thread_id or new_uuid()
        else:
            thread_id = parsed.thread()
        ready = self._call(store, thread_id, input, parsed)
        error: BaseException | None = None
        if ready is not None:
            error = self.executor.proceed(self.protocol(store), thread_id, ready)
        loaded = store.load(thread_id)
        assert loaded is not None
        return outcome_of(thread_id, loaded, self.records, self.spec, error)

    def _call(
        self, store: Checkpointer, thread_id: str, value: Any, parsed: ThreadConfig
    ) -> tuple[ReadyStep, ...] | None:
        """Commit what the call asks for; return the steps that are ready, `None` for nothing."""
        goes_on = value is None or isinstance(value, Command)
        if goes_on or parsed.checkpoint_id is not None:
            loaded = store.load(thread_id, values=False)
            _check_head(parsed, loaded)
            if goes_on:
                self._check_structure(thread_id, loaded)
        calls = Calls(store, self.records, self.executor.default_queue)
        if value is None:
            return calls.carry_on(thread_id, parsed.recursion_limit)
        if isinstance(value, Command):
            return self._answer(calls, thread_id, value, parsed.recursion_limit)
        updates_of(self.spec, self.spec.start, value)  # What is no input must not end a run.
        _, ready = calls.accept(thread_id, self.name, value, self._run_config(parsed))
        return ready

    def _check_structure(self, thread_id: str, loaded: LoadedThread | None) -> None:
        """Refuse to run steps that a graph of another structure has planned."""
        if loaded is None or not loaded.steps:
            return
        head = loaded.head
        if head.fingerprint not in {"", self.spec.fingerprint}:
            nodes = ", ".join(repr(step.step.node) for step in loaded.steps.values())
            msg = (
                f"the thread {thread_id!r} waits in {nodes} of the graph {head.graph!r}, whose "
                f"structure is another than this graph's ({head.fingerprint[:8]}, not "
                f"{self.spec.fingerprint[:8]}). Go on with the graph as it was, give an input to "
                f"start a new run with this one, or plan anew with update_state(…, as_node=…)"
            )
            raise GraphMismatchError(msg)

    def _answer(
        self, calls: Calls, thread_id: str, command: Command, recursion_limit: int | None
    ) -> tuple[ReadyStep, ...]:
        if command.update is not None or command.goto or command.graph is not None:
            msg = (
                "a Command that is given to a graph only answers what it asks: Command(resume=…). "
                "To change the state or lead elsewhere, use update_state(config, update, as_node=…)"
            )
            raise InvalidUpdateError(msg)
        if command.resume is MISSING:
            msg = "the Command is empty: Command(resume=answer) answers what the thread asks"
            raise EmptyInputError(msg)
        try:
            return calls.answer(thread_id, command.resume, recursion_limit=recursion_limit)
        except UnknownThreadError:
            msg = f"the thread {thread_id!r} does not exist, so it asks nothing: start a run on it"
            raise NoPendingInterruptError(msg) from None

    def _run_config(self, parsed: ThreadConfig) -> RunConfig:
        return RunConfig(
            run_id=new_uuid(),
            fingerprint=self.spec.fingerprint,
            recursion_limit=parsed.recursion_limit or limits.RECURSION_LIMIT_DEFAULT,
            metadata=parsed.metadata,
            configurable=parsed.configurable,
        )

    def protocol(self, store: Checkpointer) -> StepProtocol:
        """Return the protocol by which this process does steps of the graph."""
        return StepProtocol(
            self.spec, self.records, Access(store, self._owner), self.executor.default_queue
        )

    def get_graph(self, config: _Config = None, *, xray: int | bool = False) -> Drawing:
        """Return the graph as something to look at: text, SVG, Mermaid, ASCII, made here.

        `config` and `xray` are LangGraph's; they change nothing yet.
        """
        del config, xray
        return drawing_of(self.spec)

    # ---- state --------------------------------------------------------------------------

    def get_state(self, config: _Config) -> StateSnapshot:
        """Return the thread's latest snapshot, or that of the checkpoint the config names.

        A thread that does not exist has an empty snapshot, as in LangGraph.

        Raises:
            UnknownThreadError: if the checkpoint is none of the thread's.
        """
        parsed = parse_config(config)
        thread_id, store = parsed.thread(), self._store()
        loaded = store.load(thread_id, checkpoint_id=parsed.checkpoint_id)
        if loaded is None and parsed.checkpoint_id is not None:
            msg = f"the thread {thread_id!r} has no such checkpoint"
            raise UnknownThreadError(msg)
        if loaded is None:
            return _nothing(thread_id)
        latest = parsed.checkpoint_id is None
        return snapshot(thread_id, loaded, self.records, self.spec, latest=latest)

    def get_state_history(
        self, config: _Config, *, before: _Config = None, limit: int | None = None
    ) -> Iterator[StateSnapshot]:
        """Iterate over the thread's snapshots, newest first by succession.

        Args:
            config: names the thread.
            before: a config with a `checkpoint_id`; only older ones are shown.
            limit: how many at most.
        """
        parsed, store = parse_config(config), self._store()
        thread_id = parsed.thread()
        older = parse_config(before).checkpoint_id if before is not None else None
        for checkpoint_id in _ids(store, thread_id, older, limit):
            loaded = store.load(thread_id, checkpoint_id=checkpoint_id)
            if loaded is not None:
                yield snapshot(thread_id, loaded, self.records, self.spec, latest=False)

    def update_state(
        self, config: _Config, values: Any, as_node: str | None = None
    ) -> Mapping[str, Any]:
        """Change the state as if `as_node` had returned `values`; its edges and routers apply.

        Args:
            config: names the thread; it is created if it does not exist.
            values: what the node would have returned.
            as_node: whose return it is; if absent, the node that ran last, if that is clear.

        Returns:
            the config of the new checkpoint.

        Raises:
            ThreadBusyError: if the thread's run is active.
            InvalidUpdateError: if the node is unknown or cannot be told, or the update is none.
        """
        parsed, store = parse_config(config), self._store()
        thread_id, run = parsed.thread(), self._run_config(parsed)
        calls = Calls(store, self.records, self.executor.default_queue)
        stepping = Stepping(self.spec, self.records, self.executor.default_queue)

        def decide(loaded: LoadedThread | None) -> Commit:
            _check_head(parsed, loaded)
            return edit(stepping, thread_id, loaded, values, as_node, run, calls.clock.now_ms())

        commit = calls.edit(thread_id, decide)
        assert commit.checkpoint is not None
        return config_of(thread_id, commit.checkpoint.id)

    def _store(self) -> Checkpointer:
        if self.checkpointer is None:
            msg = "the graph was compiled without a checkpointer, so it keeps no threads"
            raise ConfigError(msg)
        return self.checkpointer


def _ids(
    store: Checkpointer, thread_id: str, before: int | None, limit: int | None
) -> Iterator[int]:
    """Iterate over checkpoint ids, a page at a time."""
    left = limit
    while left is None or left > 0:
        page = store.history(
            thread_id, before=before, limit=100 if left is None else min(left, 100)
        )
        yield from page
        if len(page) < 100:
            return
        before = page[-1]
        left = None if left is None else left - len(page)


def _check_head(parsed: ThreadConfig, loaded: LoadedThread | None) -> None:
    """Refuse to change a thread elsewhere than at its head."""
    head = loaded.head.checkpoint_id if loaded else None
    if parsed.checkpoint_id not in {None, head}:
        msg = (
            f"the thread {parsed.thread_id!r} can only go on from its latest checkpoint, and the "
            f"config names another one: leave out checkpoint_id to go on from the latest"
        )
        raise ConfigError(msg)


def _nothing(thread_id: str) -> StateSnapshot:
    return StateSnapshot(
        values={},
        next=(),
        config={"configurable": {"thread_id": thread_id}},
        metadata={},
        created_at="",
        parent_config=None,
        tasks=(),
    )
