"""Values that are never stored: of keys whose channel is an `UntrackedValue`.

A process remembers them for its own runs, from one superstep to the next, and forgets them with the
run. Another process, or this one after a restart, does not have them: the key is just absent.
"""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator import limits
from orchestrator.engine.apply import SENDS
from orchestrator.engine.values import Values
from orchestrator.graph.routing import Send
from orchestrator.graph.spec import GraphSpec
from orchestrator.model.checkpoint import Checkpoint, PlannedStep
from orchestrator.model.tails import Encoded

__all__ = ["Overlaid", "Untracked", "split_input"]

_Writes = Sequence[tuple[str, Any]]
_Held = dict[str, Any]  # Key of the state → value.


@dataclass(frozen=True, slots=True)
class _Step:
    """What is not stored of what a step wrote."""

    writes: tuple[tuple[str, Any], ...]
    sends: Mapping[int, _Held]  # By the number of the `Send` among those of the step.


class Untracked:
    """What one process remembers of the threads it ran last."""

    def __init__(self) -> None:
        self._threads: OrderedDict[str, _Held] = OrderedDict()
        self._steps: dict[tuple[str, str], _Step] = {}
        self._sent: OrderedDict[str, dict[str, _Held]] = OrderedDict()  # Thread → step → argument.
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
            _put(self._threads, thread_id, {**known, **values})

    def keep(self, thread_id: str, step_id: str, spec: GraphSpec, writes: _Writes) -> None:
        """Remember what is not stored of what a step wrote, until its superstep is applied."""
        if not spec.untracked:
            return
        own = tuple((key, value) for key, value in writes if key in spec.untracked)
        sends = [value for key, value in writes if key == SENDS]
        held = {i: found for i, s in enumerate(sends) if (found := _held(s, spec.untracked))}
        if own or held:
            self._steps[thread_id, step_id] = _Step(own, held)

    def whole(self, thread_id: str, step_id: str, stored: _Writes) -> _Writes:
        """Return what a step wrote, by what is stored of it, and forget the rest."""
        step = self._steps.pop((thread_id, step_id), None)
        if step is None:
            return stored
        numbers = itertools.count()
        return (
            *(
                (key, _completed(value, step.sends.get(next(numbers))))
                if key == SENDS
                else (key, value)
                for key, value in stored
            ),
            *step.writes,
        )

    def send(
        self, thread_id: str, checkpoint: Checkpoint, sends: Sequence[Send], spec: GraphSpec
    ) -> None:
        """Remember what is not stored of what a plan sends; what an earlier plan sent is gone."""
        held = {
            PlannedStep(send.node, index).id_in(checkpoint): found
            for index, send in enumerate(sends)
            if (found := _held(send, spec.untracked))
        }
        with self._lock:
            self._sent.pop(thread_id, None)
            if held:
                _put(self._sent, thread_id, held)

    def argument(self, thread_id: str, step_id: str, stored: Any) -> Any:
        """Return what a step was sent, by what is stored of it."""
        held = self._sent.get(thread_id, {}).get(step_id)
        return {**stored, **held} if held and isinstance(stored, dict) else stored


def split_input(value: Any, spec: GraphSpec) -> tuple[Any, _Held]:
    """Return what is stored of an input, and what is not."""
    if not spec.untracked or not isinstance(value, Mapping) or spec.untracked.isdisjoint(value):
        return value, {}
    stored = {key: held for key, held in value.items() if key not in spec.untracked}
    return stored, {key: held for key, held in value.items() if key in spec.untracked}


def _put(places: OrderedDict[str, Any], thread_id: str, held: Any) -> None:
    places[thread_id] = held
    while len(places) > limits.UNTRACKED_THREADS_MAX:
        places.popitem(last=False)


def _held(send: Send, untracked: frozenset[str]) -> _Held:
    """Return the part of an argument that is not stored."""
    if not isinstance(send.arg, dict):
        return {}
    return {key: value for key, value in send.arg.items() if key in untracked}


def _completed(send: Send, held: _Held | None) -> Send:
    return send if held is None else Send(send.node, {**send.arg, **held}, timeout=send.timeout)


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
