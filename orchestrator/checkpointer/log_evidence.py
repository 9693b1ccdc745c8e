"""What a thread's log and seal prove about records that are lost or altered. Pure. (INV-7)

Events never change, so where two records contradict each other the log decides; an event type that
is not known here proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest

from orchestrator.envelope.sealed_records import head_seal
from orchestrator.model import events
from orchestrator.model.checkpoint import RunStatus
from orchestrator.model.commit import Event, Wait
from orchestrator.model.events import run_ended

_STOPS_MAX, _RESUMES_MAX = 100_000, 1_000  # Greater numbers are not tried.
# Events that leave the status of a run as it was.
_NEUTRAL = {
    entry.type
    for entry in (
        *(events.CommitRefused, events.TaskCompleted, events.RunEnqueued, events.RunWithdrawn),
        *(events.CheckpointResumed, events.ThreadRepaired, events.ThreadDamaged),
    )
}
_STATUSES = {
    events.RunAccepted.type: RunStatus.QUEUED,
    events.RunResumed.type: RunStatus.RUNNING,
    events.InterruptAnswered.type: RunStatus.RUNNING,
    events.Superstep.type: RunStatus.RUNNING,
    **{run_ended(status).type: status for status in RunStatus if not status.active},
}


def logged_status(log: Iterable[Event], ns: str) -> RunStatus | None:
    """Return the run's status by the log; `None` if the log does not prove one.

    Args:
        log: events, newest first.
        ns: the namespace of the thread.
    """
    mine = [event for event in log if _ns_of(event) == ns]
    for event, before in zip_longest(mine, mine[1:]):
        edited = before is not None and before.type == events.StateEdited.type
        if not _is_neutral(event, edited=edited):
            return _status_after(event)
    return None


def _ns_of(event: Event) -> str:
    return event.fields.get("ns", b"").decode("utf-8", "surrogatepass")


def _is_neutral(event: Event, *, edited: bool) -> bool:
    if event.type == events.InterruptAnswered.type:
        return "checkpoint" not in event.fields  # The last answer has one: the run resumes.
    if event.type == events.Superstep.type:  # Unless it is live, an event of the run follows.
        return edited or event.fields.get("live") != b"1"
    return event.type in _NEUTRAL or event.type.startswith(("step_", "stream_"))


def _status_after(event: Event) -> RunStatus | None:
    return _STATUSES.get(event.type)


def logged_wait(
    step_id: str, ns: str, log: Sequence[Event]
) -> tuple[Wait, Mapping[str, str | bytes | int]]:
    """Return what a step waits for by the log, and its fields; `log`: newest first."""
    answered: set[bytes] = set()
    asks: dict[str, str | bytes | int] = {}
    asked_ms = failures = 0
    for event in log:
        fields = event.fields
        if _ns_of(event) != ns:
            continue
        if event.type in {events.RunResumed.type, events.RunAccepted.type}:
            break
        if event.type == events.InterruptAnswered.type:
            answered.add(fields.get("interrupt", b""))
        if fields.get("step", b"").decode() != step_id:
            continue
        if asked_ms and (event.type != events.StepInterrupted.type or event.ts_ms != asked_ms):
            break
        if event.type == events.StepInterrupted.type:
            asked_ms = event.ts_ms
            question = fields["interrupt"]
            if question and question not in answered:
                asks[f"ask:{question.decode()}"] = fields["value"]
        elif event.type == events.StepFailed.type:
            return Wait.PERSON, {"wait": "person", "settled": 1, "error": fields["error"]}
        elif event.type == events.StepPaused.type:
            return Wait.PERSON, {"wait": "person", "settled": 1, "reason": fields["reason"]}
        elif event.type == events.StepRetried.type:
            failures += 1
    if asks:
        return Wait.ANSWER, {"wait": "answer", "settled": 1, **asks}
    return Wait.NOTHING, {"failures": failures, "attempt": failures} if failures else {}


def restored_head(
    thread_id: str,
    fields: Mapping[str, bytes],
    made: str,
    log: Sequence[Event],
    checkpoints: Iterable[int],
) -> dict[str, bytes]:
    """Return the one sealed field that was altered, with its former value; empty: none fits.

    The log proves the run and the graph; the other fields have few possible values, and the seal
    fits one of them only.

    Args:
        thread_id: the thread.
        fields: the sealed fields as they are.
        made: their seal.
        log: events, newest first.
        checkpoints: ids of the history.
    """
    for name, values in _former_values(log, checkpoints):
        for value in values:
            if head_seal(thread_id, {**fields, name: value}) == made:
                return {name: value}
    return {}


def _former_values(
    log: Sequence[Event], checkpoints: Iterable[int]
) -> Iterator[tuple[str, Iterable[bytes]]]:
    accepted = [event.fields for event in log if event.type == events.RunAccepted.type]
    yield "run_id", [fields.get("run", b"") for fields in accepted]
    yield "graph", [fields.get("graph", b"") for fields in accepted]
    yield "local", (b"", b"0", b"1")
    yield "owner", (b"",)
    yield "error", (b"",)
    yield "resumes", (b"", *_numbers(_RESUMES_MAX))
    yield "breaks_seen", (b"", b"0", *(b"%d" % id_ for id_ in checkpoints))
    yield "stop", _numbers(_STOPS_MAX)


def _numbers(end: int) -> Iterator[bytes]:
    return (b"%d" % number for number in range(end))
