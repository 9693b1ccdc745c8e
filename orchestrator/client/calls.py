"""The calls that change a thread, each decided on the thread as it is and committed at once.

If the thread changed between loading and committing, the call is decided anew: it then succeeds, or
raises what is wrong now. (INV-9)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from orchestrator.checkpoint.commit import Commit, LoadedThread, ReadyStep, Refusal
from orchestrator.checkpointer.base import Checkpointer
from orchestrator.clock import Clock, SystemClock
from orchestrator.core import calling
from orchestrator.core.calling import RunConfig
from orchestrator.core.records import Records
from orchestrator.core.stepping import Placement
from orchestrator.errors import EmptyInputError, NoPendingInterruptError, ThreadBusyError
from orchestrator.step.lease import owner_is_dead

__all__ = ["Calls"]

_DECISIONS_MAX = 8  # How often a call is decided anew before it gives up.


@dataclass(slots=True)
class Calls:
    """The calls on the threads of one checkpointer."""

    store: Checkpointer
    records: Records
    default_queue: str = ""
    clock: Clock = field(default_factory=SystemClock)

    def accept(
        self, thread_id: str, graph: str, value: Any, config: RunConfig
    ) -> tuple[str, tuple[ReadyStep, ...]]:
        """Accept a run; return its id and its first steps.

        Under a known idempotency key: the id of the run accepted under it, and no steps. (INV-1)

        Raises:
            ThreadBusyError: if the thread's run is active.
            UnserializableValueError: if the input cannot be stored.
        """
        where = Placement(thread_id, graph, self.default_queue)
        loaded: LoadedThread | None = None
        for attempt in range(_DECISIONS_MAX):
            if attempt or config.key is None:
                loaded = self.store.load(thread_id, values=False)
            now_ms = loaded.now_ms if loaded else self.clock.now_ms()
            commit = calling.accept(self.records, where, value, config, loaded, now_ms)
            result = self.store.commit(commit)
            if result.refused is None:
                return config.run_id, commit.ready
            if result.refused is Refusal.KEY_USED:
                return result.detail, ()
        raise _unsettled(thread_id)

    def answer(
        self,
        thread_id: str,
        resume: Any,
        to: str | None = None,
        *,
        recursion_limit: int | None = None,
    ) -> tuple[ReadyStep, ...]:
        """Store answers; return the steps that can go on. (INV-8)

        Raises:
            UnknownThreadError: if there is no such thread.
            NoPendingInterruptError: if nothing is open, or it was answered already.
            UnknownInterruptError: if an id is not open, or must be given.
        """
        commit = self._decide(
            thread_id,
            lambda loaded: calling.answer(
                self.records, thread_id, loaded, resume, to=to, recursion_limit=recursion_limit
            ),
        )
        return tuple(update.step for update in commit.updates) if commit else ()

    def carry_on(
        self, thread_id: str, recursion_limit: int | None = None
    ) -> tuple[ReadyStep, ...] | None:
        """Continue a run that rests; return what can go on, or `None`: it had ended.

        Raises:
            EmptyInputError: if there is no such thread.
            ThreadBusyError: if the run is active.
        """
        loaded = self.store.load(thread_id, values=False)
        for owner in {step.owner for step in (loaded.steps if loaded else {}).values()}:
            if owner and owner_is_dead(owner):
                self.store.release(owner)  # It crashed, and there may be no keeper to notice.
        if loaded is None:
            msg = f"there is no thread {thread_id!r} to go on with: give it an input to start a run"
            raise EmptyInputError(msg)
        commit = self._decide(
            thread_id,
            lambda loaded: calling.carry_on(self.records, thread_id, loaded, recursion_limit),
        )
        return None if commit is None else tuple(update.step for update in commit.updates)

    def cancel(self, thread_id: str) -> bool:
        """End the run; return whether there was one to end.

        Raises:
            UnknownThreadError: if there is no such thread.
        """
        commit = self._decide(thread_id, lambda loaded: calling.cancel(thread_id, loaded))
        return commit is not None

    def edit(self, thread_id: str, decide: Callable[[LoadedThread | None], Commit]) -> Commit:
        """Commit what `decide` makes of the thread, or of its absence."""
        for _ in range(_DECISIONS_MAX):
            commit = decide(self.store.load(thread_id))
            if self.store.commit(commit).refused is None:
                return commit
        raise _unsettled(thread_id)

    def _decide(
        self, thread_id: str, decide: Callable[[LoadedThread], Commit | None]
    ) -> Commit | None:
        for _ in range(_DECISIONS_MAX):
            loaded = self.store.load(thread_id, values=False)
            if loaded is None:
                raise calling.missing(thread_id)
            commit = decide(loaded)
            if commit is None:
                return None
            result = self.store.commit(commit)
            if result.refused is None:
                return commit
            if result.refused is Refusal.NO_INTERRUPT:
                msg = f"the interrupt {result.detail!r} of {thread_id!r} has been answered already"
                raise NoPendingInterruptError(msg)
        raise _unsettled(thread_id)


def _unsettled(thread_id: str) -> ThreadBusyError:
    return ThreadBusyError(f"the thread {thread_id!r} kept changing during this call; try it again")
