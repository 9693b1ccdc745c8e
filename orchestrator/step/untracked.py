"""Values that are never stored: of keys whose channel is an `UntrackedValue`.

A process remembers them for its own runs, from one superstep to the next, and forgets them with the
run. Another process, or this one after a restart, does not have them: the key is just absent.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator import limits
from orchestrator.checkpoint.tails import Encoded
from orchestrator.core.values import Values
from orchestrator.graph.spec import GraphSpec

__all__ = ["Overlaid", "Untracked"]

_Writes = Iterable[tuple[str, Any]]


class Untracked:
    """What one process remembers of the threads it ran last."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._threads: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._steps: dict[tuple[str, str], list[tuple[str, Any]]] = {}
        self._lock = threading.Lock()

    def values(self, thread_id: str) -> Mapping[str, Any]:
        """Return what is remembered of a thread."""
        return self._threads.get(thread_id, {})

    def set(self, thread_id: str, values: Mapping[str, Any]) -> None:
        """Remember values of a thread, beside those there are."""
        if not values:
            return
        with self._lock:
            known = self._threads.pop(thread_id, {})
            self._threads[thread_id] = {**known, **values}
            while len(self._threads) > limits.UNTRACKED_THREADS_MAX:
                self._threads.popitem(last=False)

    def keep(self, thread_id: str, step_id: str, spec: GraphSpec, writes: _Writes) -> None:
        """Remember what a step wrote until its superstep is applied."""
        mine = [(key, value) for key, value in writes if key in spec.untracked]
        if mine:
            self._steps[thread_id, step_id] = mine

    def taken(self, thread_id: str, step_id: str) -> list[tuple[str, Any]]:
        """Return what a step wrote, and forget it."""
        return self._steps.pop((thread_id, step_id), [])


@dataclass(frozen=True, slots=True)
class Overlaid(Values):
    """Stored values, with those that only this process has."""

    stored: Values
    own: Mapping[str, Any]

    def __getitem__(self, key: str) -> Any:
        """Return the value of a key."""
        return self.own[key] if key in self.own else self.stored[key]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the keys that hold a value."""
        return iter(dict.fromkeys([*self.stored, *self.own]))

    def __len__(self) -> int:
        """Return how many keys hold a value."""
        return len(set(self.stored) | set(self.own))

    def encoded(self, key: str) -> tuple[str, Encoded] | None:
        """Return how the value of a key is stored; see `Values.encoded`."""
        return None if key in self.own else self.stored.encoded(key)
