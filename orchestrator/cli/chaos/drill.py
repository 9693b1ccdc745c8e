"""One drill: keep threads in flight, inject faults, judge every thread that has ended.

Rule 1: a thread is judged a while after it has ended, so that late events are seen too.
Rule 2: what was judged is forgotten, here and in the store, so that a long drill stays small. What
        was found guilty stays.
Rule 3: the workers are stopped, however the drill ends.
"""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator import limits
from orchestrator.cli.chaos.load import SILENT, ran_in
from orchestrator.cli.ledger import GONE, IDLE, Finding, Ran, Verdict, judge
from orchestrator.errors import CheckpointerUnavailableError, NoPendingInterruptError
from orchestrator.model.checkpoint import RunStatus

if TYPE_CHECKING:
    from orchestrator.checkpointer.base import Checkpointer
    from orchestrator.cli.chaos.faults import Fault, Injector
    from orchestrator.cli.chaos.site import Crew
    from orchestrator.client.client import Client
    from orchestrator.model.commit import Event, LoadedThread

TICK_S = 0.02
POLL_EVERY_S = 0.25
LINE_EVERY_S = 5.0
JUDGE_AFTER_S = 12.0  # Longer than any process is stopped.
LATE_S = 2.0  # For the events of a process that was stopped until the end.
EVENTS_PAGE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How long a drill lasts and how hard it is."""

    seconds: float
    threads: int  # In flight.
    fault_every_s: float
    settle_s: float  # How long after the last fault a thread may take to pause or end.


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """The threads that a drill runs."""

    input_of: Callable[[int], tuple[str, Any]]  # A thread's number → graph and input.
    answer: Any = None  # To every question; `None`: a paused thread counts as ended.
    expected: Callable[[Any], Mapping[str, Any]] | None = None  # Input → undisturbed final state.


@dataclass(slots=True)
class Witness:
    """The file to which nodes write what really runs, read as it grows."""

    path: Path
    ran: dict[str, list[Ran]] = field(default_factory=lambda: defaultdict(list))
    _read: int = 0
    _rest: bytes = b""

    def poll(self) -> None:
        """Read new lines."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._read)
            data = file.read()
        self._read += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for thread, ran in ran_in(lines):
            self.ran[thread].append(ran)


@dataclass(slots=True)
class _Thread:
    """A thread that was submitted and is not judged."""

    name: str
    graph: str
    input: Any
    status: str = ""  # Empty: it is not known whether it was accepted.
    ended_s: float = 0.0
    answered: set[str] = field(default_factory=set)


class Drill:
    """Runs until its time is up and every thread is judged."""

    def __init__(
        self,
        client: Client,
        store: Checkpointer,
        crew: Crew,
        load: Load,
        plan: Plan,
        witness: Witness | None,
        note: Callable[[str], None],
    ) -> None:
        self._note = note
        self.verdict = Verdict()
        self.failed = 0  # Threads whose run has failed; the graph itself may be the reason.
        self.parked = 0  # Threads that were carried on after faults had parked a step of theirs.
        self.evidence: dict[str, list[Event]] = {}  # The events of threads with a finding.
        self._client, self._store, self._crew = client, store, crew
        self._load, self._plan, self._witness = load, plan, witness
        self._flying: dict[str, _Thread] = {}
        self._landed: deque[_Thread] = deque()
        self._states: dict[str, Mapping[str, Any]] = {}
        self._number = 0

    def run(self, injector: Injector, faults: Iterator[Fault]) -> None:
        """Run the drill."""
        began_s = poll_s = line_s = time.monotonic()
        fault_s = began_s + self._plan.fault_every_s
        fault: Fault | None = None
        end_s = began_s + self._plan.seconds
        while (now := time.monotonic()) < end_s or (
            self._flying and now < end_s + self._plan.settle_s
        ):
            self._crew.once()
            over = now >= end_s
            if over:
                self._crew.continue_all()
            elif now >= fault_s:
                fault = fault or next(faults)
                if hit := injector.inject(fault):
                    self._note(f"{fault.kind.replace('_', ' ')}: {hit}")
                if hit or now >= fault_s + self._plan.fault_every_s:  # Or there is no target.
                    fault, fault_s = None, fault_s + self._plan.fault_every_s
            if now >= poll_s:
                poll_s = now + POLL_EVERY_S
                self._poll(more=not over)
            if now >= line_s:
                line_s = now + LINE_EVERY_S
                self._note(self._line(injector.hits.total()))
            time.sleep(TICK_S)
        time.sleep(LATE_S)
        if self._witness is not None:
            self._witness.poll()
        for thread in [*self._landed, *self._flying.values()]:
            self._judge(thread)

    def _line(self, faults: int) -> str:
        verdict = self.verdict
        return (
            f"{faults} faults, {self._number} threads submitted, {verdict.threads} judged "
            f"({verdict.commits} steps committed), {len(self._flying)} in flight, "
            f"{len(verdict.findings)} findings"
        )

    # ---- threads in flight --------------------------------------------------------------

    def _poll(self, *, more: bool) -> None:
        """Submit missing threads, answer questions, collect ended threads, judge those due."""
        with contextlib.suppress(CheckpointerUnavailableError):
            while more and len(self._flying) < self._plan.threads:
                self._number += 1
                graph, value = self._load.input_of(self._number)
                name = f"chaos-{self._number:06}"
                self._flying[name] = _Thread(name, graph, value)
            for thread in list(self._flying.values()):
                self._move(thread)
            if self._witness is not None:
                self._witness.poll()
            due_s = time.monotonic() - JUDGE_AFTER_S
            while self._landed and self._landed[0].ended_s < due_s:
                self._judge(self._landed[0])
                self._landed.popleft()

    def _move(self, thread: _Thread) -> None:
        if not thread.status:
            # The key makes repeated calls one run.
            name = thread.name
            self._client.submit(thread.graph, thread.input, thread_id=name, key=name)
            thread.status = RunStatus.QUEUED
            return
        loaded = self._store.load(thread.name, values=False)
        thread.status = str(loaded.head.status) if loaded else GONE
        if loaded and self._helped(thread, loaded):
            return
        if thread.status in IDLE or thread.status == GONE:
            thread.ended_s = time.monotonic()
            self._landed.append(self._flying.pop(thread.name))

    def _helped(self, thread: _Thread, loaded: LoadedThread) -> bool:
        """Answer or resume a thread as an operator would; return whether that was needed."""
        if thread.status == RunStatus.PAUSED and self._load.answer is not None:
            for step in loaded.steps.values():
                for question in set(step.questions) - thread.answered:
                    with contextlib.suppress(NoPendingInterruptError):  # Its reply was lost.
                        self._client.resume(thread.name, self._load.answer, interrupt_id=question)
                    thread.answered.add(question)
            return True
        deaths = max((step.deaths for step in loaded.steps.values()), default=0)
        if thread.status == RunStatus.FAILED and deaths >= limits.DEATHS_MAX:
            self._client.carry_on(thread.name)
            self.parked += 1
            return True
        return False

    # ---- judging ------------------------------------------------------------------------

    def _judge(self, thread: _Thread) -> None:
        """Read everything first: a thread that cannot be read now is judged at the next poll."""
        events = list(self._events(thread.name))
        different = self._different(thread)
        ran = None if self._witness is None else self._witness.ran.pop(thread.name, [])
        findings = judge(
            self.verdict, thread.name, events, status=thread.status, ran=ran, silent=SILENT
        )
        if different:
            findings.append(Finding(thread.name, "different", different))
            self.verdict.add(findings[-1:])
        self.failed += thread.status == RunStatus.FAILED
        for finding in findings:
            self._note(str(finding))
        if findings:
            self.evidence[thread.name] = events
        else:
            self._forget(thread.name)

    def _different(self, thread: _Thread) -> str:
        """Return how the final state differs from that of an undisturbed run."""
        if self._load.expected is None or thread.status not in IDLE:
            return ""  # A running or lost thread is a finding of its own.
        wanted = self._states.get(str(thread.input))
        if wanted is None:
            wanted = self._states[str(thread.input)] = self._load.expected(thread.input)
        state = self._client.get_state(thread.name).values
        same = thread.status == RunStatus.SUCCEEDED and state == wanted
        return "" if same else f"it is {thread.status} with {state}, undisturbed: {wanted}"

    def _events(self, thread: str) -> Iterator[Event]:
        seq = 0
        while page := self._store.events(thread, after=seq, limit=EVENTS_PAGE):
            yield from page
            seq = page[-1].seq

    def _forget(self, thread: str) -> None:
        """Delete a thread that has ended well from the namespace, which is ours."""
        with contextlib.suppress(CheckpointerUnavailableError):  # Then it costs memory, no more.
            self._store.delete(thread)
