"""Reading a run from its thread's event log: late, again, by many, without gap or repetition.

The log tells what happened and in which order; what it does not hold (states, writes) is looked up
in the checkpoints, which keep it. So a stream read from a fleet is made of the same facts as one
heard in the process that runs the steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from orchestrator.checkpoint.commit import Event, LoadedThread
from orchestrator.checkpointer.base import Checkpointer
from orchestrator.core.records import Records
from orchestrator.ids import child_thread, parse_checkpoint_id
from orchestrator.step.facts import Advanced, Asked, Done, Fact, Failed, Stopped, TaskDone, Written

__all__ = ["Follower", "StreamPart"]

_LOOK_S = 2.0  # How long one look at the log waits, at most.
_ENDS = ("run_succeeded", "run_failed", "run_cancelled", "run_paused")


class StreamPart(NamedTuple):
    """One part of a stream that is read from a log.

    Attributes:
        seq: the number of the event it comes from; several parts may come from one.
        ns: the namespace: empty for the graph itself.
        mode: the stream mode.
        data: what that mode shows.
    """

    seq: int
    ns: tuple[str, ...]
    mode: str
    data: Any


@dataclass(slots=True)
class Follower:
    """Reads the log of one thread.

    Attributes:
        store: where the thread is.
        thread_id: the thread that a caller named; its log holds its subgraphs' events too.
        records: how values are stored, by namespace; "" serves where none is known.
        seq: the number of the last event that was read.
        awaited: the run with which to begin; events before it are passed over. Empty: at once.
    """

    store: Checkpointer
    thread_id: str
    records: Mapping[str, Records]
    seq: int = 0
    awaited: str = ""

    def facts(self, timeout_s: float = _LOOK_S) -> Iterator[tuple[int, Fact | None]]:
        """Return what was logged since, waiting for the first; `None`: the run rests."""
        for event in self.store.events(self.thread_id, after=self.seq, wait_s=timeout_s):
            self.seq = event.seq
            if self.awaited and not self._is_awaited(event):
                continue
            for fact in self._of(event):
                yield event.seq, fact
            if event.type in {*_ENDS, "run_withdrawn"} and "ns" not in event.fields:
                yield event.seq, None

    def _is_awaited(self, event: Event) -> bool:
        """Return whether the awaited run begins, or never will."""
        if event.type not in {"run_accepted", "run_withdrawn"}:
            return False
        if _text(event.fields["run"]) != self.awaited:
            return False
        self.awaited = ""
        return True

    def _of(self, event: Event) -> Iterator[Fact]:
        fields = event.fields
        ns = _text(fields.get("ns", b""))
        thread_id = child_thread(self.thread_id, ns)
        match event.type:
            case "run_accepted" | "superstep":
                yield from self._advanced(thread_id, ns, fields)
            case "run_resumed" | "interrupt_answered" if "checkpoint" in fields:
                yield from self._resumed(thread_id, ns, fields)
            case "step_committed":
                yield from self._done(thread_id, ns, fields)
            case "step_interrupted":
                yield from self._ask(thread_id, ns, fields)
            case "step_failed":
                error = self._records(ns).error(fields["error"])
                if error is not None:
                    yield Failed(thread_id=thread_id, **_step(fields), error=error)
            case "task_done":
                yield TaskDone(
                    thread_id=thread_id,
                    number=int(fields["number"]),
                    id=_text(fields["id"]),
                    name=_text(fields["name"]),
                    result=self._records(ns).decode(fields["data"]),
                )
            case "stream_custom" | "stream_messages":
                data = self._records(ns).decode(fields["data"])
                mode = event.type.removeprefix("stream_")
                yield Written(thread_id=thread_id, mode=mode, data=data)
            case "run_paused" if "break" in fields:
                yield Stopped(thread_id=thread_id)

    def _records(self, ns: str) -> Records:
        path = "|".join(part.partition(":")[0] for part in ns.split("|") if not part.isdigit())
        return self.records.get(path) or self.records[""]

    def _at(self, thread_id: str, checkpoint: bytes) -> LoadedThread | None:
        wanted = parse_checkpoint_id(_text(checkpoint))
        return self.store.load(thread_id, checkpoint_id=wanted)

    def _advanced(self, thread_id: str, ns: str, fields: Mapping[str, bytes]) -> Iterator[Fact]:
        loaded = self._at(thread_id, fields["checkpoint"])
        if loaded is None:
            return
        frame = self._records(ns).frame(loaded)
        checkpoint = frame.checkpoint
        changed = {k for k, version in checkpoint.versions.items() if version == checkpoint.id}
        begins = checkpoint.plan if fields.get("live", b"1") == b"1" else ()
        yield Advanced(thread_id=thread_id, frame=frame, changed=frozenset(changed), begins=begins)

    def _resumed(self, thread_id: str, ns: str, fields: Mapping[str, bytes]) -> Iterator[Fact]:
        loaded = self._at(thread_id, fields["checkpoint"])
        if loaded is None:
            return
        records = self._records(ns)
        frame = records.frame(loaded)
        done = [i for i in _text(fields["done"]).split() if i in loaded.outcomes]
        yield Advanced(
            thread_id=thread_id,
            frame=frame,
            changed=None,
            begins=frame.checkpoint.plan,
            completed={i: records.outcome(loaded.outcome(i)).writes for i in done},
        )

    def _done(self, thread_id: str, ns: str, fields: Mapping[str, bytes]) -> Iterator[Fact]:
        loaded = self._at(thread_id, fields["checkpoint"])
        stored = loaded.outcomes.get(_text(fields["step"])) if loaded else None
        if stored is not None:
            writes = self._records(ns).outcome(stored).writes
            yield Done(thread_id=thread_id, **_step(fields), writes=writes)

    def _ask(self, thread_id: str, ns: str, fields: Mapping[str, bytes]) -> Iterator[Fact]:
        loaded = self._at(thread_id, fields["checkpoint"])
        if loaded is None:
            return
        stored = fields["value"]  # Empty: its subgraph stopped where it was told to.
        questions = (self._records(ns).interrupt(stored),) if stored else ()
        yield Asked(
            thread_id=thread_id,
            **_step(fields),
            interrupts=questions,
            values=self._records(ns).frame(loaded).values,
        )


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


def _step(fields: Mapping[str, bytes]) -> dict[str, Any]:
    return {
        "number": int(fields["number"]),
        "step_id": _text(fields["step"]),
        "node": _text(fields["node"]),
    }
