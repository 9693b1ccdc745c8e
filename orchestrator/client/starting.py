"""How a call on a thread begins: a new run, an answer, a continuation, a branch; or a refusal."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchestrator.channels import MISSING
from orchestrator.checkpointer.base import Checkpointer
from orchestrator.client.addressing import Address, Addresses
from orchestrator.client.calls import Calls
from orchestrator.client.editing import Editor
from orchestrator.client.threadconfig import ConfigError, ThreadConfig
from orchestrator.engine.accept import RunConfig
from orchestrator.engine.carryover import Spot
from orchestrator.engine.compat import mismatch
from orchestrator.engine.questions import open_questions
from orchestrator.engine.settle import Stepping
from orchestrator.errors import (
    EmptyInputError,
    GraphMismatchError,
    InvalidUpdateError,
    NoPendingInterruptError,
    StateCorruptedError,
    UnknownThreadError,
)
from orchestrator.graph.routing import Command, own
from orchestrator.ids import root_thread
from orchestrator.model.commit import LoadedThread, ReadyStep
from orchestrator.step.invoke import check_command, updates_of
from orchestrator.step.untracked import split_input

if TYPE_CHECKING:
    from orchestrator.client.compiled import CompiledStateGraph

__all__ = ["Start"]


@dataclass(slots=True)
class Start:
    """The beginning of one call of a graph on a thread.

    Attributes:
        graph: the graph.
        store: where the thread is.
        thread_id: the thread.
        parsed: what the caller says of it.
        run: what a new run is started with.
        resumes: whether a run goes on, rather than a new one beginning.
        run_id: the run that begins or goes on; empty: not known before it does.
    """

    graph: CompiledStateGraph
    store: Checkpointer
    thread_id: str
    parsed: ThreadConfig
    run: RunConfig
    resumes: bool = field(default=False, init=False)
    run_id: str = field(default="", init=False)

    @property
    def _addresses(self) -> Addresses:
        return Addresses(self.graph, self.store, self.thread_id)

    @property
    def calls(self) -> Calls:
        """Return the calls that change the thread."""
        queue = self.graph.default_queue
        return Calls(self.store, self.graph.records, queue, "" if queue else self.graph.owner)

    def begin(self, value: Any) -> tuple[ReadyStep, ...] | None:
        """Commit what the call asks for; return the steps that are ready, `None` for nothing."""
        value = own(value)
        goes_on = value is None or isinstance(value, Command)
        loaded = self.store.load(self.thread_id, values=False) if goes_on else None
        if goes_on:
            self._check_structure(loaded)
            self.run_id = loaded.head.run_id if loaded else ""
        if isinstance(value, Command):
            return self._command(value, loaded)
        address = self._address()
        if value is None:
            self.resumes = True
            if address is not None:
                self._branch(address.spot)
            return self._carry_on()
        return self._accept(value, address.spot.checkpoint_id if address else None)

    def _address(self) -> Address | None:
        """Return the checkpoint that the config names, if that is not where the thread stands."""
        at, ns = self.parsed.checkpoint_id, root_thread(self.thread_id)[1]
        if ns:  # The graph keeps its threads apart from those of the graph around the call.
            return None if at is None else Address(Spot("", at))
        found = self._addresses.of(self.parsed)
        return None if found is None or found.latest else found

    def _accept(self, value: Any, at: int | None, **steering: Any) -> tuple[ReadyStep, ...]:
        graph = self.graph
        spec = graph.spec
        if spec.start.action is None and not steering.get("steers"):
            updates_of(spec, spec.start, value)  # What is no input must not end a run.
        run = dataclasses.replace(self.run, **steering)
        own: dict[str, Any] = {}
        if not graph.executor.default_queue:  # Else another process takes the input.
            value, own = split_input(value, spec)
        self.run_id, ready = self.calls.accept(self.thread_id, graph.name, value, run, at)
        graph.untracked.set(self.thread_id, own)
        return ready

    def _command(
        self, command: Command[Any], loaded: LoadedThread | None
    ) -> tuple[ReadyStep, ...] | None:
        if command.graph is not None:
            raise InvalidUpdateError("there is no graph around this one: leave out graph=…")
        steers = command.update is not None or bool(command.goto)
        if command.resume is MISSING and not steers:
            msg = (
                "the Command is empty: Command(resume=answer) answers what the thread asks, "
                "Command(update=…, goto=…) changes it and steers it"
            )
            raise EmptyInputError(msg)
        address = self._address()
        if not steers:
            self.resumes = True
            if address is not None and not (address.repeated and _asks(loaded)):
                self._branch(self._addresses.answered(address, command.resume))
                return self._carry_on()
            return self._answer(command.resume)
        goto = self._targets(command)
        check_command(self.graph.spec, command.update, goto)
        if loaded is None and command.resume is MISSING:
            update = {} if command.update is None else command.update
            return self._accept(update, None, goto=goto, steers=True)
        if loaded is None:
            raise self._asks_nothing()
        self.resumes, resume = True, command.resume
        if address is not None:
            if address.path:
                msg = (
                    f"a Command that updates or leads is for the outermost graph, and the config "
                    f"names a checkpoint of the subgraph {address.named.ns!r}: give the config of "
                    f"a checkpoint of the graph, or change the subgraph with update_state"
                )
                raise ConfigError(msg)
            self._branch(
                address.spot if resume is MISSING else self._addresses.answered(address, resume)
            )
            resume = MISSING
        return self._accept(command.update, None, goto=goto, steers=True, resume=resume)

    def _targets(self, command: Command[Any]) -> tuple[Any, ...]:
        try:
            return command.targets()
        except TypeError:
            msg = f"Command(goto={command.goto!r}): expected a node, a Send, or a list of them"
            raise InvalidUpdateError(msg) from None

    def _answer(self, resume: Any) -> tuple[ReadyStep, ...]:
        try:
            limit = self.parsed.recursion_limit
            return self.calls.answer(
                self.thread_id, resume, recursion_limit=limit, call=self.run.call
            )
        except UnknownThreadError:
            raise self._asks_nothing() from None

    def _carry_on(self) -> tuple[ReadyStep, ...] | None:
        return self.calls.carry_on(self.thread_id, self.parsed.recursion_limit, self.run.call)

    def _asks_nothing(self) -> NoPendingInterruptError:
        if self.graph.checkpointer is None:
            return NoPendingInterruptError(
                "a graph without a checkpointer keeps no question that could be answered: give "
                "compile() a checkpointer"
            )
        return NoPendingInterruptError(
            f"the thread {self.thread_id!r} does not exist, so it asks nothing: start a run on it"
        )

    def _branch(self, spot: Spot) -> None:
        """Make a checkpoint the head again, as a new branch."""
        graph, calls = self.graph, self.calls
        stepping = Stepping(graph.spec, graph.records, graph.executor.default_queue)

        def decide(head: LoadedThread | None) -> Any:
            editor = Editor(
                stepping=stepping,
                thread_id=self.thread_id,
                loaded=head,
                base=calls.at(self.thread_id, spot.checkpoint_id),
                run=self.run,
                now_ms=calls.clock.now_ms(),
            )
            return editor.branch("fork", spot=spot)

        calls.edit(self.thread_id, decide)

    def _check_structure(self, loaded: LoadedThread | None) -> None:
        """Refuse to run steps that a graph of another structure has planned."""
        if loaded is None or not loaded.steps:
            return
        records, stored = self.graph.records, loaded.checkpoint
        try:
            checkpoint = records.checkpoint(stored.header, stored.plan)
        except StateCorruptedError:
            return  # Whoever loads it for more than that says so.
        waiting = [records.step(s.step).node for s in loaded.steps.values() if not s.completed]
        why = mismatch(self.graph.spec, loaded.head, checkpoint, waiting)
        if why:
            nodes = ", ".join(map(repr, waiting))
            msg = f"the thread {self.thread_id!r} waits in {nodes}: {why}, or start a new run"
            raise GraphMismatchError(msg)


def _asks(loaded: LoadedThread | None) -> bool:
    return loaded is not None and bool(open_questions(loaded))
