"""What `audit.lua` saw of one thread, by name: raw text, and `None` for what is not there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from orchestrator.checkpointer.redis.encode import checkpoint_records

__all__ = ["SEEN_SEPARATOR", "Look", "SeenHead", "SeenStep"]

SEEN_SEPARATOR = b"\x1e"  # Between what was seen, where it is sent back to be compared.


class SeenHead(NamedTuple):
    """A thread's head, and what else is there once a thread."""

    status: str | None
    checkpoint_id: str | None
    run_id: str | None
    graph: str | None
    open: str | None
    fence: str | None
    seq: str | None
    local: str | None
    created_ms: str | None
    updated_ms: str | None
    seal: str | None
    is_whole: str | None  # Whether the seal fits. As all that say whether: "1" or `None`.
    newest: str | None  # The last checkpoint of the history.
    last_event: str | None
    listed: str | None  # The head checkpoint, in the history.
    header: str | None
    plan: str | None
    refs: str | None  # Names of values, on lines.
    ns: str | None
    steps: str | None  # Ids, between spaces.
    newest_header: str | None
    lost: str | None  # Names of values that are referred to and not there, on lines.
    line: str | None  # Run ids, on lines.
    begins: str | None
    waiting: str | None  # `near` or `far`, as all times of indexes.
    stuck: str | None
    in_threads: str | None


class SeenStep(NamedTuple):
    """A step's record, and what speaks of the step."""

    step_id: str | None
    done: str | None
    outcome: str | None
    step: str | None
    cp: str | None
    queue: str | None
    arg: str | None
    wait: str | None
    owner: str | None
    fence: str | None
    attempt: str | None
    due: str | None
    settled: str | None
    failures: str | None
    deaths: str | None
    asked: str | None  # How many questions.
    open: str | None  # How many of them are not answered.
    has_arg: str | None
    queue_known: str | None
    ready: str | None
    unsent: str | None
    later: str | None  # Its place among those that are sent when others are done.
    timer: str | None  # The score itself.
    claimed: str | None
    lease: str | None


_ABOUT_RECORD = ("step", "cp", "queue", "arg", "wait", "owner", "fence", "attempt", "due")


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a thread."""

    now_ms: int
    changed: bool
    seen: bytes  # As it is compared when something is to be changed.
    head: SeenHead
    steps: tuple[SeenStep, ...]
    header: bytes
    plan: bytes
    wrong: tuple[bytes, ...]  # Keys of another type than they should have.

    @classmethod
    def of(cls, answer: Sequence[Any]) -> Look:
        """Return the look that the script answered."""
        now, changed, seen, header, plan, wrong = answer
        values = [_text(value) for value in seen]
        size = len(SeenHead._fields)
        return cls(
            now_ms=now,
            changed=bool(changed),
            seen=SEEN_SEPARATOR.join(seen),
            head=SeenHead(*values[:size]),
            steps=tuple(_steps(values[size:])),
            header=header,
            plan=plan,
            wrong=tuple(wrong),
        )

    @property
    def refs(self) -> tuple[str, ...]:
        """Return the names of the values that the head checkpoint refers to."""
        return tuple(self.head.refs.split("\n")) if self.head.refs else ()

    def checkpoint_records(self, planned: Sequence[str]) -> dict[str, bytes]:
        """Return the head checkpoint as it would be stored with other steps, by field."""
        refs, ns = (
            (value or "").encode("utf-8", "surrogateescape")
            for value in (self.head.refs, self.head.ns)
        )
        id_ = self.head.checkpoint_id or ""
        return checkpoint_records(id_, self.header, self.plan, refs, ns, planned)

    @property
    def step_ids(self) -> list[str]:
        """Return the ids of the steps that the checkpoint says it planned."""
        return (self.head.steps or "").split()


def has_record(step: SeenStep) -> bool:
    """Return whether anything is left of a step's record."""
    return any(getattr(step, name) is not None for name in _ABOUT_RECORD)


def _text(value: bytes) -> str | None:
    return value[1:].decode("utf-8", "surrogateescape") if value else None


def _steps(values: Sequence[str | None]) -> Iterator[SeenStep]:
    size = len(SeenStep._fields)
    for start in range(0, len(values), size):
        yield SeenStep(*values[start : start + size])
