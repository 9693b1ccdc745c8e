"""What is stored of some threads: their events, their open claims, their questions.

Everything a demo shows and counts comes from here; nothing is remembered that the store does not
say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.cli.board import Row
from orchestrator.cli.ledger import ThreadAccount, account_of

if TYPE_CHECKING:
    from orchestrator.checkpoint.commit import Event, LoadedThread
    from orchestrator.checkpointer.base import Checkpointer

__all__ = ["Claims", "HeldStep", "Watch"]

EVENTS_PAGE = 1000
FINAL = frozenset({"succeeded", "failed", "cancelled"})


@dataclass(frozen=True, slots=True)
class HeldStep:
    """A step that somebody runs at this moment."""

    thread: str
    step: str  # Its id.
    task: str  # Its name for people: thread, superstep, node, and the index of its `Send`.
    owner: str  # "host:pid:nonce"

    @property
    def pid(self) -> int:
        """The process that runs it; 0 if its owner does not say."""
        parts = self.owner.rsplit(":", 2)
        return int(parts[1]) if len(parts) == 3 and parts[1].isdigit() else 0


@dataclass(frozen=True, slots=True)
class Claims:
    """Which steps were claimed at one time of the server."""

    at_ms: int
    held: tuple[HeldStep, ...]


class Watch:
    """Some threads, as they are stored."""

    def __init__(self, store: Checkpointer, threads: Sequence[str]) -> None:
        self._store = store
        self._open: dict[str, LoadedThread] = {}  # Those not ended, as last seen.
        self.threads = tuple(threads)
        self.statuses: dict[str, str] = dict.fromkeys(threads, "queued")
        self.events: dict[str, list[Event]] = {thread: [] for thread in threads}

    @property
    def ended(self) -> bool:
        """Whether every thread has reached a final status."""
        return all(status in FINAL for status in self.statuses.values())

    @property
    def committed(self) -> int:
        """How many steps were committed so far, in all threads."""
        return sum(self._committed(thread) for thread in self.threads)

    def look(self) -> Claims:
        """Read what is new; return which steps are claimed now.

        A thread is read before its events, so that one that has ended has them all.
        """
        self._open = dict(self._load())
        for thread in [each for each in self.threads if self.statuses[each] not in FINAL]:
            if thread in self._open:
                self.statuses[thread] = self._open[thread].head.status
            events = self.events[thread]
            while page := self._store.events(
                thread, after=events[-1].seq if events else 0, limit=EVENTS_PAGE
            ):
                events.extend(page)
        return claims_in(self._open)

    def claims(self) -> Claims:
        """Return the steps that are claimed at this very moment."""
        return claims_in(dict(self._load()))

    def questions(self) -> list[tuple[str, str]]:
        """Return the open interrupts that pause threads: (thread, interrupt id)."""
        return [
            (thread, question)
            for thread, loaded in self._open.items()
            if loaded.head.status == "paused"
            for step in loaded.steps.values()
            for question in step.questions
        ]

    def rows(self, claims: Claims, name_of: Callable[[int], str]) -> list[Row]:
        """Return how every thread stands; `name_of` names the worker of a process."""
        return [
            Row(
                thread=thread,
                status=self.statuses[thread],
                committed=self._committed(thread),
                planned=self._planned(thread),
                running=tuple(
                    f"{step.task.removeprefix(thread + ':')} on {name_of(step.pid)}"
                    for step in claims.held
                    if step.thread == thread
                ),
                waits_for="a review" if self.statuses[thread] == "paused" else "",
            )
            for thread in self.threads
        ]

    def accounts(self) -> list[ThreadAccount]:
        """Return the account of each thread."""
        return [
            account_of(self.events[thread], finished=self.statuses[thread] == "succeeded")
            for thread in self.threads
        ]

    def _load(self) -> Iterator[tuple[str, LoadedThread]]:
        for thread in self.threads:
            if self.statuses[thread] not in FINAL:
                loaded = self._store.load(thread, values=False)
                if loaded is not None:
                    yield thread, loaded

    def _committed(self, thread: str) -> int:
        return sum(event.type == "step_committed" for event in self.events[thread])

    def _planned(self, thread: str) -> int:
        return sum(len(event.fields.get("steps", b"").split()) for event in self.events[thread])


def claims_in(threads: dict[str, LoadedThread]) -> Claims:
    """Return the claims among the steps of loaded threads."""
    held = tuple(
        HeldStep(thread, step.step.step_id, step.step.task_id, step.owner)
        for thread, loaded in threads.items()
        for step in loaded.steps.values()
        if step.owner and not step.completed
    )
    return Claims(max((loaded.now_ms for loaded in threads.values()), default=0), held)
