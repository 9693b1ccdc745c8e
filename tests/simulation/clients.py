"""Who calls: a client that brings its thread through a scenario, whatever happens to it.

A client is a process like any: it is killed, starts again, and goes on where its notes say, under
the same idempotency keys. What it does not know, it asks again.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.client.calls import Calls
from orchestrator.client.compiled import CompiledStateGraph
from orchestrator.engine.accept import RunConfig
from orchestrator.engine.questions import open_questions
from orchestrator.errors import (
    CheckpointerUnavailableError,
    NoPendingInterruptError,
    ThreadBusyError,
    UnknownInterruptError,
    UnknownThreadError,
)
from orchestrator.model.checkpoint import RunStatus
from orchestrator.model.commit import LoadedThread, ReadyStep
from tests.simulation.fleet import QUEUES, Fleet
from tests.simulation.graphs import Graph, draw_graph
from tests.simulation.seam import Seam
from tests.simulation.world import Process

__all__ = ["Client", "Scenario"]

_LOOK_MS = 400  # Between two looks at a thread.
_STRATEGIES = ("enqueue", "interrupt", "rollback", "reject")


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is done to a thread.

    Attributes:
        number: from which it was drawn.
        graph: what runs.
        acts: `run`, `queue` (three runs at once) and `edit`, one after the other.
        cancels: whether runs are cancelled, and carried on, on the way.
        rude: whether others call on the thread at any time, so that nobody knows what comes out.

    Where a graph has a hook for resuming, what had completed is applied when the run goes on, so
    how often that was decides in which superstep the rest is: nobody knows what comes out, either.
    """

    number: int
    graph: Graph
    acts: tuple[str, ...]
    cancels: bool
    rude: bool

    @property
    def certain(self) -> bool:
        """Return whether what comes out is known."""
        return not self.rude and self.graph.compiled.spec.on_resume is None

    @classmethod
    def of(cls, number: int) -> Scenario:
        """Return the scenario of a number: the same at every call."""
        chance = random.Random(f"scenario {number}")
        acts = chance.choice(
            [("run",), ("run", "run"), ("run", "edit", "run"), ("queue",), ("run", "queue")]
        )
        rude = chance.random() < 0.1
        cancels = chance.random() < 0.2 and "queue" not in acts
        return cls(number, draw_graph(number), acts, cancels, rude)


class Client:
    """The client of one thread. Its fields are its notes: they outlive its process."""

    def __init__(self, fleet: Fleet, scenario: Scenario, thread_id: str) -> None:
        """Begin with nothing done."""
        self.fleet, self.scenario, self.thread_id = fleet, scenario, thread_id
        self.world = fleet.world
        self.done = 0  # Acts.
        self.cancels_left = 2 if scenario.cancels else 0
        self.rude_left = 4 if scenario.rude else 0
        self.finished = False
        self.world.unfinished += 1
        self._start()

    def _start(self) -> None:
        process = self.world.spawn(f"client:{self.thread_id}", self._main)
        process.after = lambda: self.world.later(
            int(self.world.chance.random() * 1_000), self._start
        )

    def _main(self, process: Process) -> None:
        call = _Call(self, process)
        while self.done < len(self.scenario.acts):
            act = self.scenario.acts[self.done]
            getattr(call, act)(self.done)
            self.done += 1
        self.finished = True
        self.world.unfinished -= 1


class _Call:
    """What one process of a client does."""

    def __init__(self, client: Client, process: Process) -> None:
        self.client, self.process, self.world = client, process, process.world
        self.thread_id, fleet = client.thread_id, client.fleet
        self.store: Seam = fleet.seam(process)
        self.compiled = client.scenario.graph.compiled
        self.calls = Calls(self.store, self.compiled.records, QUEUES[0], clock=process)
        self._dispatch = fleet.dispatch(process, self.store)

    # ---- acts ---------------------------------------------------------------------------------

    def run(self, number: int) -> None:
        """Start a run and bring it to its end."""
        self._submit(f"{number}", "reject")
        self._bring_to_end()

    def queue(self, number: int) -> None:
        """Start three runs, two of which wait in line, and bring all to their end."""
        for place in range(3):
            self._submit(f"{number}.{place}", "enqueue")
        self._bring_to_end()

    def edit(self, number: int) -> None:
        """Change the state by hand."""
        del number
        graph = CompiledStateGraph(
            self.compiled.spec, checkpointer=self.store, executor=_Sender(self)
        )
        first = self.client.scenario.graph.first
        while True:
            loaded = self._look()
            assert loaded is not None
            edited = [e.type for e in self.store._store.events(self.thread_id, limit=100_000)]
            if "state_edited" in edited:
                break  # By an earlier process of this client, or without an answer.
            try:
                graph.update_state(self.thread_id, {"log": ["edited"], "last": "by hand"}, first)
            except CheckpointerUnavailableError:
                continue
        self._bring_to_end()

    # ---- submitting ---------------------------------------------------------------------------

    def _submit(self, name: str, strategy: Any, key: str | None = None) -> None:
        thread_id = self.thread_id
        config = RunConfig(
            run_id=f"{thread_id}/{name}/{self.world.chance.random()}",
            fingerprint=self.compiled.spec.fingerprint,
            key=key or f"{thread_id}/{name}",
            multitask=strategy,
        )
        while True:
            try:
                run_id, ready = self.calls.accept(
                    thread_id, self.compiled.name, {"log": [f"in {name}"]}, config
                )
            except CheckpointerUnavailableError:
                continue
            except ThreadBusyError:
                self.process.sleep_ms(_LOOK_MS)
                continue
            break
        if run_id not in self.client.fleet.accounts.runs[thread_id]:
            self.world.wrong("INV-1", f"the run {run_id} was accepted and is nowhere")
        self._send(ready)

    def _send(self, ready: Sequence[ReadyStep]) -> None:
        if not ready:
            return
        try:
            self._dispatch(ready)
        except CheckpointerUnavailableError:
            return  # They are stored: the sweeper finds them.

    # ---- waiting ------------------------------------------------------------------------------

    def _look(self) -> LoadedThread | None:
        while True:
            try:
                return self.store.load(self.thread_id, values=False)
            except CheckpointerUnavailableError:
                continue

    def _bring_to_end(self) -> None:
        """Answer, carry on and wait until the thread has nothing left to do."""
        while True:
            loaded = self._look()
            assert loaded is not None
            status = loaded.head.status
            if status is RunStatus.SUCCEEDED and not loaded.line:
                return
            if status.active or (status.final and loaded.line):
                self._disturb()
                self.process.sleep_ms(_LOOK_MS)
                continue
            try:
                self._send(self._go_on(loaded))
            except CheckpointerUnavailableError:
                continue
            except (NoPendingInterruptError, UnknownInterruptError, ThreadBusyError):
                continue  # It was done, and the answer lost; or it goes on already.

    def _go_on(self, loaded: LoadedThread) -> Sequence[ReadyStep]:
        """Let a run that rests go on."""
        questions = open_questions(loaded)
        if not questions or loaded.head.status is RunStatus.CANCELLED:
            self.world.grant(self.thread_id)
            return self.calls.carry_on(self.thread_id) or ()
        answers = {
            question: f"[{self.compiled.records.interrupt(step.asks[question]).value}]"
            for question, step in questions.items()
        }
        if len(answers) > 1 and self.world.chance.random() < 0.5:
            answers = dict([self.world.chance.choice(sorted(answers.items()))])
        ready = self.calls.answer(self.thread_id, answers)
        known = self.client.fleet.accounts.answered
        carried = self.compiled.spec.on_resume is not None  # In the checkpoint of the hook's step.
        for question in answers if not carried else ():
            if (self.thread_id, question) not in known:
                self.world.wrong("INV-8", f"the answer to {question} was taken and is nowhere")
        return ready

    # ---- disturbing -----------------------------------------------------------------------------

    def _disturb(self) -> None:
        """Call on the thread while its run is active, if this scenario does."""
        client, chance = self.client, self.world.chance
        try:
            if client.cancels_left and chance.random() < 0.3:
                client.cancels_left -= 1
                self.world.counts["cancels"] += 1
                self.calls.cancel(self.thread_id)
            elif client.rude_left and chance.random() < 0.5:
                client.rude_left -= 1
                self._intrude(chance.choice(_STRATEGIES), f"rude{client.rude_left}")
        except (CheckpointerUnavailableError, ThreadBusyError, UnknownThreadError):
            return

    def _intrude(self, strategy: str, name: str) -> None:
        self.world.counts["intrusions"] += 1
        config = RunConfig(
            run_id=f"{self.thread_id}/{name}",
            fingerprint=self.compiled.spec.fingerprint,
            multitask=strategy,  # type: ignore[arg-type]
        )
        _, ready = self.calls.accept(self.thread_id, self.compiled.name, {"log": [name]}, config)
        self._send(ready)


class _Sender:
    """The executor of a client that only changes the state."""

    default_queue = QUEUES[0]

    def __init__(self, call: _Call) -> None:
        self._call = call

    def checkpointer(self) -> None:
        """Bring none along."""

    def send(self, ready: Sequence[ReadyStep]) -> None:
        """Send messages."""
        self._call._send(ready)
