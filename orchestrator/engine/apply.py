"""From the writes of a superstep to the next state: LangGraph's algorithm, without its clocks.

Pure: the same steps with the same writes give the same result wherever and whenever it is computed,
so the process that commits the last step may apply them all. (INV-6)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from orchestrator import limits
from orchestrator.channels import MISSING, UNCHANGED
from orchestrator.engine.carryover import kept_in
from orchestrator.engine.values import encoded_in
from orchestrator.errors import GraphstalkError, InvalidUpdateError
from orchestrator.frozen import frozen
from orchestrator.graph.routing import Command, Send
from orchestrator.graph.spec import GraphSpec
from orchestrator.model.checkpoint import Checkpoint, PlannedStep
from orchestrator.model.tails import is_list

SENDS = "__sends__"  # The name of a `Send` among a step's writes.
RETURN = "__return__"  # What a functional step returned, for those who watch.
HANDLED = "__handled__"  # Says that the writes are those of an error handler.
LEFT = "__left__"  # Says that the step never completed: the thread continued without it.
# Writes that change no channel: a command for the graph around this one ends this one.
NO_CHANNELS = frozenset({Command.PARENT, HANDLED, LEFT, RETURN})
Writes = Sequence[tuple[str, Any]]


@frozen(kw_only=False)
class Applied:
    """The state after a superstep."""

    values: Mapping[str, Any]  # All keys of the state that hold a value.
    changed: dict[str, Any]  # The keys of the state that this superstep set, with their values.
    appended: dict[str, list[Any]]  # Keys whose stored lists only grew, with what was added.
    control: dict[str, Any]
    versions: dict[str, int]
    seen: Mapping[str, Mapping[str, int]]
    sends: list[Send]
    updated: frozenset[str]  # The channels that may trigger nodes.
    leads_out: bool = False  # Whether a step wrote a command for the graph around this one.


def apply(
    spec: GraphSpec,
    checkpoint: Checkpoint,
    values: Mapping[str, Any],
    results: Iterable[tuple[PlannedStep, Writes]],
    version: int,
    *,
    passes: bool = True,
) -> Applied:
    """Return the state after `results`, whose changes get `version`.

    Args:
        spec: the graph.
        checkpoint: where the superstep began, with its control channels.
        values: the values of the state's keys there; only those that are written are looked up.
        results: what each step wrote, in any order.
        version: the id of the checkpoint to come.
        passes: whether a superstep passes, so that what lasts one superstep is cleared.

    Raises:
        InvalidUpdateError: if a channel refuses its writes, or a reducer raises.
    """
    ordered = list(results)
    if len(ordered) > 1:
        ordered.sort(key=lambda result: result[0].order)
    board = _Board(spec, checkpoint, values, version)
    board.see(checkpoint.seen, ordered)
    sends = board.write(ordered)
    if passes:
        board.clear_transient()
        idle = not sends and spec.triggers.keys().isdisjoint(board.updated)
        if idle and not kept_in(checkpoint):
            board.finish()  # What was sent is work, too: a deferred node waits for it.
    return board.applied(sends)


def values_with(
    spec: GraphSpec, checkpoint: Checkpoint, values: Mapping[str, Any], writes: Writes
) -> Mapping[str, Any]:
    """Return the values of the state as the step that made `writes` leaves them: no time goes by.

    Raises:
        InvalidUpdateError: as `apply`.
    """
    board = _Board(spec, checkpoint, values, 0)
    board.write([(None, writes)])
    return board.values()


class _Board:
    """The channels while a superstep is applied. What has a version holds a value.

    What waits in a join or for a node that the graph no longer has is dropped; keys of the state
    that it does not know are kept as they are.
    """

    def __init__(
        self, spec: GraphSpec, checkpoint: Checkpoint, values: Mapping[str, Any], version: int
    ) -> None:
        self.spec, self.version, self.before = spec, version, values
        channels, held = spec.channels, checkpoint.control
        self.control = dict(held)
        self.changed: dict[str, Any] = {}
        self.appended: dict[str, list[Any]] = {}
        self.versions = dict(checkpoint.versions)
        for gone in held.keys() - channels.keys():
            del self.control[gone]
            self.versions.pop(gone, None)
        self.seen: dict[str, Mapping[str, int]] = {}
        self.written: set[str] = set()
        self.updated: set[str] = set()
        self.leads_out = False

    def value(self, channel: str) -> Any:
        """Return what a channel holds now, or `MISSING`."""
        if channel not in self.versions:
            return MISSING
        if channel in self.control:
            return self.control[channel]
        if channel in self.appended:
            return self.before[channel] + self.appended[channel]
        return self.changed[channel] if channel in self.changed else self.before[channel]

    def see(
        self,
        before: Mapping[str, Mapping[str, int]],
        results: Sequence[tuple[PlannedStep, Writes]],
    ) -> None:
        """Mark the triggers as seen by their nodes, and use up those that are for once."""
        self.seen = dict(before)
        triggers: dict[str, None] = {}
        for step, _ in results:
            seen = self.seen[step.node] = dict(self.seen.get(step.node, ()))
            for channel in step.triggers:
                triggers[channel] = None
                if channel in self.versions:
                    seen[channel] = self.versions[channel]
        for channel in triggers:
            rule = self.spec.channels[channel]
            if rule.consumes:
                self.put(channel, rule.consume(self.value(channel)), news=False)

    def write(self, results: Sequence[tuple[PlannedStep | None, Writes]]) -> list[Send]:
        """Update each channel once with all its writes; return what is sent."""
        sends: list[Send] = []
        grouped: dict[str, list[Any]] = {}
        for _, writes in results:
            for channel, value in writes:
                if channel == SENDS:
                    sends.append(value)
                elif channel not in NO_CHANNELS:
                    grouped.setdefault(channel, []).append(value)
                elif channel == Command.PARENT:
                    self.leads_out = True
        for channel, written in grouped.items():
            if channel not in self.spec.growing or not self._append(channel, written):
                self.put(channel, self._update(channel, written))
            self.written.add(channel)
        return sends

    def _append(self, channel: str, written: list[Any]) -> bool:
        """Let a long list that is stored grow without decoding it, if it does nothing else."""
        stored = encoded_in(self.before, channel) if channel in self.versions else None
        if stored is None or len(stored[1]) <= limits.LIST_WHOLE_BYTES_MAX:
            return False
        items = self.spec.channels[channel].appended(written)
        if items is None or not is_list(stored[1]):
            return False
        self.appended[channel] = items
        self.versions[channel] = self.version
        self.updated.add(channel)
        return True

    def _update(self, channel: str, written: list[Any]) -> Any:
        rule, value = self.spec.channels[channel], self.value(channel)
        try:
            return rule.update(value, written)
        except GraphstalkError:
            raise
        except Exception as error:
            msg = f"the reducer of {channel!r} raised {type(error).__name__}: {error}"
            failed = InvalidUpdateError(msg)
            failed.raised = error
            raise failed from error

    def clear_transient(self) -> None:
        """Notify the channels that no step wrote that a superstep has passed."""
        for channel in [*self.control, *self.spec.transient_state]:
            rule = self.spec.channels[channel]
            if rule.transient and channel not in self.written:
                self.put(channel, rule.update(self.value(channel), ()))

    def finish(self) -> None:
        """Notify the channels that wait for it that nothing else will run."""
        for channel in self.spec.finishing:
            self.put(channel, self.spec.channels[channel].finish(self.value(channel)))

    def put(self, channel: str, value: Any, *, news: bool = True) -> None:
        """Set or clear a channel; a channel without a value needs no version."""
        if value is UNCHANGED:
            return
        held = self.control if channel in self.spec.control else self.changed
        if value is MISSING:
            held.pop(channel, None)
            self.versions.pop(channel, None)
            return
        held[channel] = value
        self.versions[channel] = self.version
        if news and self.spec.channels[channel].get(value) is not MISSING:
            self.updated.add(channel)

    def values(self) -> Mapping[str, Any]:
        """Return the values of the state's keys that hold one."""
        keys = self.versions.keys() - self.control.keys()
        return _Overlay(self.before, self.changed, self.appended, keys)

    def applied(self, sends: list[Send]) -> Applied:
        """Return the result."""
        held, seen = self.versions.keys(), self.seen
        for node, channels in list(seen.items()):
            if held.isdisjoint(channels):
                del seen[node]
            elif not channels.keys() <= held:
                seen[node] = {c: v for c, v in channels.items() if c in held}
        return Applied(
            values=self.values(),
            changed=self.changed,
            appended=self.appended,
            control=self.control,
            versions=self.versions,
            seen=seen,
            sends=sends,
            updated=frozenset(self.updated),
            leads_out=self.leads_out,
        )


class _Overlay(Mapping[str, Any]):
    """New values over the ones before; keys without a value are in neither."""

    def __init__(
        self,
        before: Mapping[str, Any],
        changed: dict[str, Any],
        appended: dict[str, list[Any]],
        keys: set[str],
    ) -> None:
        self._before, self._changed, self._appended, self._keys = before, changed, appended, keys

    def get(self, key: str, default: Any = None) -> Any:
        return self[key] if key in self._keys else default

    def __getitem__(self, key: str) -> Any:
        if key not in self._keys:
            raise KeyError(key)
        if key in self._appended:
            return self._before[key] + self._appended[key]
        return self._changed[key] if key in self._changed else self._before[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


def plan(
    spec: GraphSpec,
    control: Mapping[str, Any],
    versions: Mapping[str, int],
    seen: Mapping[str, Mapping[str, int]],
    sends: Sequence[Send],
) -> tuple[PlannedStep, ...]:
    """Return the steps that are next: what was sent, in order, then triggered nodes by name.

    A node is triggered by a channel that holds something it has not seen.
    """
    steps = [PlannedStep(send.node, i) for i, send in enumerate(sends)] if sends else []
    triggered: dict[str, list[str]] = {}
    held = control.keys() & spec.triggers.keys()  # Few, also where the graph has many.
    for channel in sorted(held, key=spec.trigger_places.__getitem__):
        if spec.channels[channel].get(control[channel]) is MISSING:
            continue
        for node in spec.triggers[channel]:
            if versions[channel] > seen.get(node, {}).get(channel, -1):
                triggered.setdefault(node, []).append(channel)
    steps += [PlannedStep(node, -1, tuple(triggered[node])) for node in sorted(triggered)]
    return tuple(steps)
