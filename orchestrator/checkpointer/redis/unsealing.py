"""What a field of a head was that does not fit the seal: the seal tells when one has guessed it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from orchestrator.checkpoint.commit import Event
from orchestrator.envelope.sealed_records import head_seal

__all__ = ["unsealed"]

_STOPS_MAX = 100_000  # A greater limit of supersteps is not guessed.
_RESUMES_MAX = 1_000


def unsealed(
    thread_id: str,
    fields: Mapping[str, bytes],
    made: str,
    events: Sequence[Event],
    checkpoints: Iterable[int],
) -> dict[str, bytes]:
    """Return the one field that was altered with its value from before; nothing if none fits.

    Args:
        thread_id: the thread.
        fields: the sealed fields as they are.
        made: their seal.
        events: the log, which tells run and graph.
        checkpoints: ids of the history.
    """
    for name, values in _guesses(events, checkpoints):
        for value in values:
            if head_seal(thread_id, {**fields, name: value}) == made:
                return {name: value}
    return {}


def _guesses(
    events: Sequence[Event], checkpoints: Iterable[int]
) -> Iterator[tuple[str, Iterable[bytes]]]:
    accepted = [event.fields for event in events if event.type == "run_accepted"]
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
