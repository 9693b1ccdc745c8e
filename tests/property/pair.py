"""Two stores to which the same is done, and what of their answers is compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

from orchestrator.checkpointer.base import Checkpointer
from orchestrator.checkpointer.memory import MemoryCheckpointer
from orchestrator.config import Settings
from orchestrator.model.commit import Swept
from orchestrator.testing.manual_clock import ManualClock

__all__ = ["Pair", "World"]

_TIMES = {"now_ms", "created_ms", "updated_ms", "ts_ms"}


@dataclass(frozen=True)
class World:
    """A store to compare, and its time."""

    store: Checkpointer
    settings: Settings
    now_ms: Callable[[], int]
    close: Callable[[], None]
    clock: ManualClock | None = None  # Where time belongs to the test; then it is compared, too.


class Pair:
    """A store and the memory one beside it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.clock = world.clock or ManualClock(world.now_ms())
        self.memory = MemoryCheckpointer(settings=world.settings, clock=self.clock)

    def both(self, method: str, *args, **kwargs):
        """Ask both stores, compare, and return the answer."""
        self.clock.set(self.world.now_ms())
        expected = getattr(self.memory, method)(*args, **kwargs)
        given = getattr(self.world.store, method)(*args, **kwargs)
        assert self.seen(given) == self.seen(expected), (method, args, kwargs)
        return expected

    def seen(self, answer):
        """Return what of an answer is compared."""
        if isinstance(answer, list):  # Steps that are to be sent: in any order.
            return sorted({step.step_id for step in answer})
        if isinstance(answer, Swept):
            due = sorted({(step.thread_id, step.step_id) for step in answer.due})
            stuck = sorted(step.thread_id for step in answer.stuck)
            return answer.leading, due, stuck, answer.released
        return self.timeless(answer)

    def timeless(self, record):
        """Return a record without its times, where time passes by itself."""
        if self.world.clock is not None or record is None:
            return record
        if isinstance(record, dict):
            return {key: self.timeless(value) for key, value in record.items()}
        names = {field.name for field in fields(record)}
        changes = dict.fromkeys(_TIMES & names, 0)
        if "due_ms" in names:
            changes["due_ms"] = int(record.due_ms > 0)
        changes |= {
            name: self.timeless(getattr(record, name)) for name in {"head", "steps"} & names
        }
        return replace(record, **changes)

    def noted(self, events):
        """Return events; of an owner's claims, it does not matter which is released first."""
        seen = [(self.timeless(e).ts_ms, e.type, sorted(e.fields.items())) for e in events]
        released = sorted(event for event in seen if event[1] == "step_released")
        kept = [released.pop(0) if event[1] == "step_released" else event for event in seen]
        return [event.seq for event in events], kept
