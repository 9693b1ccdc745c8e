"""Reading a run from its thread's event log: late, again, by many, without gap or repetition.

The log says what happened and in which order; what it does not hold (states, writes) is read from
the checkpoints, which keep it. So a stream read from a fleet is made of the same facts as one heard
in the process that runs the steps.

Rule 1: each part has a cursor of its own. A reader that continues after it misses nothing and sees
        nothing twice, whichever modes it reads now.
Rule 2: events that cannot be read any more are a part, too: none is passed over silently.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from orchestrator.checkpointer.base import Checkpointer
from orchestrator.client.options import OptionError
from orchestrator.client.projection import Unseen
from orchestrator.engine.records import Records
from orchestrator.frozen import replace
from orchestrator.graph.spec import GraphSpec
from orchestrator.ids import child_thread
from orchestrator.model.commit import Event, LoadedThread
from orchestrator.model.events import (
    Entry,
    InterruptAnswered,
    RunAccepted,
    RunEnded,
    RunPaused,
    RunResumed,
    RunWithdrawn,
    StepCommitted,
    StepEntry,
    StepFailed,
    StepInterrupted,
    StreamCustom,
    StreamMessages,
    Superstep,
    TaskCompleted,
    Unreadable,
    read_event,
)
from orchestrator.step.facts import (
    Advanced,
    Asked,
    Done,
    Fact,
    Failed,
    Left,
    Missed,
    Stopped,
    TaskDone,
    Written,
)
from orchestrator.step.next_run import CARRYING

_POLL_S = 2.0  # How long one read of the log waits for an event, at most.
_SEARCHED_EVENTS = 1000  # Among how many events one is searched for.
_EVENT_BITS = 32  # A cursor is the number of an event, and, in this many bits, a part of it.

# Gives the graph of a namespace, if it is known, and how its values are stored; the second argument
# is the fingerprint of the graph of the namespace's thread.
Known = Callable[[str, str], tuple[GraphSpec | None, Records]]


class StreamPart(NamedTuple):
    """One part of a stream that is read from a log.

    Attributes:
        seq: the part's cursor: with it as `from_seq`, a reader continues after this part. It is
            greater than that of any part before; the modes that are read do not change it.
        ns: the namespace: empty for the graph itself.
        mode: the stream mode; `gap` where events cannot be read any more.
        data: what that mode shows; of a gap, the numbers of its `first` and `last` event, and the
            `reason`: `trimmed` from the log, `damaged`, or their checkpoint was `pruned`.
    """

    seq: int
    ns: tuple[str, ...]
    mode: str
    data: Any

    @property
    def event(self) -> int:
        """Return the number of the event that the part comes from; several may come from one."""
        return self.seq >> _EVENT_BITS


def event_of(seq: int) -> tuple[int, int | None]:
    """Return the event of a cursor, and the place of the part in it; `None`: after all of it.

    Raises:
        OptionError: if it is no cursor.
    """
    if not isinstance(seq, int) or isinstance(seq, bool) or seq < 0:
        msg = (
            f"from_seq must be the seq of a part that was read, or the number of an event, and not "
            f"negative (from_seq={seq!r:.100}). Use 0 to read from the beginning"
        )
        raise OptionError(msg)
    event = seq >> _EVENT_BITS
    return (event, (seq & (1 << _EVENT_BITS) - 1) - 1) if event else (seq, None)


def check_kept(store: Checkpointer, thread_id: str, loaded: LoadedThread, after: int = 0) -> None:
    """Refuse to read tokens of language models from a thread whose log keeps none.

    They are kept only for runs that were started for it: that is a commit for each. Tokens of a run
    that its caller's process does go to that caller; readers see the messages that steps return.

    Args:
        store: where the thread is.
        thread_id: the thread.
        loaded: the thread at its head.
        after: the event after which the reader begins.

    Raises:
        OptionError: if neither its run nor those in line keep them, and the log has none.
    """
    if loaded.head.local:
        return
    configs = [CARRYING.decode(loaded.head.config)] if loaded.head.config else []
    configs += [CARRYING.decode(data)["config"] for data in loaded.line.values()]
    if any(config.get("messages") for config in configs):
        return
    found = store.events(thread_id, after=after, limit=_SEARCHED_EVENTS)
    if any(event.type == StreamMessages.type for event in found):
        return
    msg = (
        f"stream_mode='messages' must be asked for when a run starts, so that its messages are "
        f"kept (thread {thread_id!r}, run {loaded.head.run_id}): submit(…, "
        f"stream_mode='messages'), or stream the run from its start. Every other mode can be read"
    )
    raise OptionError(msg)


def parts_of_log(
    follower: Follower,
    unseen: Unseen,
    from_seq: int,
    *,
    subgraphs: bool,
    is_over: Callable[[int], bool],
) -> Iterator[StreamPart | None]:
    """Read a thread's log, part by part, until its run ends or pauses.

    Args:
        follower: the log.
        unseen: what the reader has not seen yet.
        from_seq: the cursor after which to begin.
        subgraphs: whether to show what happens in subgraphs.
        is_over: returns whether no event will be logged after the one of that number.

    Yields:
        a part; `None` after each read of the log, so that the caller can give up.
    """
    event, place = event_of(from_seq)
    start = event if place is None else event - 1
    follower.seq = 0
    unseen.catch_up(follower.facts_to(start))
    follower.seq = start
    may_end = True
    while not (may_end and is_over(follower.seq)):
        may_end = True  # Until an event shows the contrary.
        for seq, fact in follower.facts():
            may_end = fact is None
            for at, (space, mode, data) in unseen.numbered(fact) if fact is not None else ():
                is_new = place is None or seq > event or at > place
                if is_new and (subgraphs or not space):
                    yield StreamPart(seq << _EVENT_BITS | at + 1, space, mode, data)
        yield None


@dataclass(slots=True)
class Follower:
    """Reads the log of one thread.

    Attributes:
        store: where the thread is.
        thread_id: the thread that a caller named; its log holds its subgraphs' events too.
        known: gives graphs, and how their values are stored.
        seq: the number of the last event that was read.
        awaited: the run with which to begin; events before it are passed over. Empty: at once.
    """

    store: Checkpointer
    thread_id: str
    known: Known
    seq: int = 0
    awaited: str = ""
    _graphs: dict[str, tuple[GraphSpec | None, Records]] = field(default_factory=dict)

    def facts(self, timeout_s: float = _POLL_S) -> Iterator[tuple[int, Fact | None]]:
        """Return what was logged since, waiting for the first; `None`: the run ended or paused."""
        for event in self.store.events(self.thread_id, after=self.seq, wait_s=timeout_s):
            if event.seq > self.seq + 1:
                self.awaited = ""  # It may be among what is missing.
                yield event.seq - 1, self._missed(self.seq + 1, event.seq - 1, "trimmed")
            self.seq = event.seq
            entry = read_event(event)
            if self.awaited and not self._is_awaited(entry):
                continue
            for fact in self._of(event, entry):
                yield event.seq, fact
            if isinstance(entry, RunEnded | RunWithdrawn) and not entry.ns:
                yield event.seq, None

    def facts_to(self, last: int) -> Iterator[Fact]:
        """Return what was logged since, up to an event, as far as it can be read."""
        while self.seq < last:
            before = self.seq
            for seq, fact in self.facts(0):
                if seq > last:
                    return
                if fact is not None:
                    yield fact
            if self.seq == before:
                return

    def _missed(self, first: int, last: int, reason: str) -> Missed:
        return Missed(thread_id=self.thread_id, first=first, last=last, reason=reason)

    def _is_awaited(self, entry: Entry) -> bool:
        """Return whether the awaited run begins, or never will."""
        if not isinstance(entry, RunAccepted | RunWithdrawn) or entry.run != self.awaited:
            return False
        self.awaited = ""
        return True

    def _of(self, event: Event, entry: Entry) -> Iterator[Fact]:
        if isinstance(entry, Unreadable):
            yield self._missed(event.seq, event.seq, "damaged")
            return
        found = self._read(entry)
        if found is None:  # Its checkpoint was deleted.
            yield self._missed(event.seq, event.seq, "pruned")
        else:
            for fact in found:
                yield replace(fact, ts_ms=event.ts_ms)

    def _read(self, entry: Entry) -> tuple[Fact, ...] | None:
        """Return the facts of an event; `None` if its checkpoint cannot be loaded."""
        thread_id = child_thread(self.thread_id, entry.ns)
        match entry:
            case RunAccepted() | Superstep():
                return self._advanced(thread_id, entry)
            case RunResumed(checkpoint=int()) | InterruptAnswered(checkpoint=int()):
                return self._resumed(thread_id, entry)
            case StepCommitted():
                return self._done(thread_id, entry)
            case StepInterrupted():
                return self._ask(thread_id, entry)
            case StepFailed() | TaskCompleted() | StreamCustom() | StreamMessages():
                return tuple(self._logged(thread_id, entry))
            case RunPaused(break_=True):
                return (Stopped(thread_id=thread_id, spec=self._graph(thread_id, entry.ns)[0]),)
        return ()

    def _logged(
        self, thread_id: str, entry: StepFailed | TaskCompleted | StreamCustom | StreamMessages
    ) -> Iterator[Fact]:
        """Return the facts that the log itself holds."""
        spec, records = self._graph(thread_id, entry.ns)
        of: dict[str, Any] = {"thread_id": thread_id, "spec": spec}
        match entry:
            case StepFailed():
                error = records.error(entry.error)
                if error is not None:
                    yield Failed(**of, **_step(entry), error=error)
            case TaskCompleted():
                of |= {"number": entry.number, "id": entry.id, "name": entry.name}
                yield TaskDone(**of, result=records.decode(entry.data))
            case _:
                mode = "custom" if isinstance(entry, StreamCustom) else "messages"
                yield Written(**of, mode=mode, data=records.decode(entry.data))

    def _graph(self, thread_id: str, ns: str) -> tuple[GraphSpec | None, Records]:
        """Return the graph of a thread, if it is known, and how it is stored."""
        if ns not in self._graphs:
            loaded = self.store.load(thread_id, values=False) if ns else None
            self._graphs[ns] = self.known(ns, loaded.head.fingerprint if loaded else "")
        return self._graphs[ns]

    def _at(
        self, thread_id: str, ns: str, checkpoint: int | None
    ) -> tuple[LoadedThread, dict[str, Any], Records] | None:
        """Return a thread at a checkpoint, the fields of its facts, and how it is stored."""
        loaded = self.store.load(thread_id, checkpoint_id=checkpoint)
        if loaded is None:
            return None
        if ns not in self._graphs:
            self._graphs[ns] = self.known(ns, loaded.head.fingerprint)
        spec, records = self._graphs[ns]
        return loaded, {"thread_id": thread_id, "spec": spec}, records

    def _advanced(self, thread_id: str, entry: RunAccepted | Superstep) -> tuple[Fact, ...] | None:
        found = self._at(thread_id, entry.ns, entry.checkpoint)
        if found is None:
            return None
        loaded, of, records = found
        frame = records.frame(loaded)
        checkpoint = frame.checkpoint
        changed = {k for k, version in checkpoint.versions.items() if version == checkpoint.id}
        live = isinstance(entry, RunAccepted) or entry.live
        begins = checkpoint.plan if live else ()
        return (Advanced(**of, frame=frame, changed=frozenset(changed), begins=begins),)

    def _resumed(
        self, thread_id: str, entry: RunResumed | InterruptAnswered
    ) -> tuple[Fact, ...] | None:
        found = self._at(thread_id, entry.ns, entry.checkpoint)
        if found is None:
            return None
        loaded, of, records = found
        frame = records.frame(loaded)
        done = [i for i in entry.done or () if i in loaded.outcomes]
        completed = {i: records.outcome(loaded.outcome(i)).writes for i in done}
        left = left_in(loaded, records)
        plan = frame.checkpoint.plan
        of |= {"frame": frame, "changed": None, "begins": plan}
        return (Advanced(**of, completed=completed, left=left),)

    def _done(self, thread_id: str, entry: StepCommitted) -> tuple[Fact, ...] | None:
        found = self._at(thread_id, entry.ns, entry.checkpoint)
        stored = found[0].outcomes.get(entry.step) if found else None
        if found is None or stored is None:
            return None
        _, of, records = found
        return (Done(**of, **_step(entry), writes=records.outcome(stored).writes),)

    def _ask(self, thread_id: str, entry: StepInterrupted) -> tuple[Fact, ...] | None:
        found = self._at(thread_id, entry.ns, entry.checkpoint)
        if found is None:
            return None
        loaded, of, records = found
        # Without a question, its subgraph paused before or after a node.
        questions = (records.interrupt(entry.value),) if entry.value else ()
        values = records.frame(loaded).values
        return (Asked(**of, **_step(entry), interrupts=questions, values=values),)


def _step(entry: StepEntry) -> dict[str, Any]:
    return {"number": entry.number, "step_id": entry.step, "node": entry.node}


def first_fact(
    thread_id: str, loaded: LoadedThread, records: Records, spec: GraphSpec, *, resumes: bool
) -> Advanced:
    """Return the fact that a run begins, or continues, at the thread's head.

    Args:
        thread_id: the thread.
        loaded: the thread at its head, with values.
        records: how it is stored.
        spec: its graph.
        resumes: whether the run continues: its state is shown then, as if all of it were new.
    """
    frame = records.frame(loaded)
    return Advanced(
        thread_id=thread_id,
        spec=spec,
        frame=frame,
        changed=None if resumes else frozenset(),
        begins=frame.checkpoint.plan if loaded.head.status.active else (),
        completed={i: records.outcome(data).writes for i, data in loaded.outcomes.items()},
        left=left_in(loaded, records) if resumes else {},
    )


def left_in(loaded: LoadedThread, records: Records) -> Mapping[str, Left]:
    """Return what the steps of a thread had asked, and how they had failed, by step id."""
    found: dict[str, Left] = {}
    for step_id, step in loaded.steps.items():
        if not step.completed and (step.asks or step.error):
            asked = tuple(map(records.interrupt, filter(None, step.asks.values())))
            found[step_id] = asked, records.error(step.error)
    for step_id, data in loaded.outcomes.items():
        outcome = records.outcome(data)
        if outcome.interrupts or outcome.error:
            found[step_id] = outcome.interrupts, records.error(outcome.error)
    return found
