"""Checkpoints, outcomes and errors as plain data and back, for a codec to turn into bytes.

Every record begins with the version of its layout, so that a later one is recognized. (INV-10)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import field
from typing import Any

from orchestrator.channels import MISSING, storable
from orchestrator.engine.advance import Frame
from orchestrator.engine.apply import SENDS
from orchestrator.engine.values import StoredValues
from orchestrator.errors import NewerLayoutError, StateCorruptedError, UnserializableValueError
from orchestrator.frozen import frozen, replace
from orchestrator.graph.lineage import Lineage
from orchestrator.graph.policy import TimeoutPolicy
from orchestrator.graph.routing import START, Send
from orchestrator.ids import hex_bytes
from orchestrator.model.checkpoint import (
    Checkpoint,
    Interrupt,
    Outcome,
    PlannedStep,
    StepError,
)
from orchestrator.model.commit import LoadedThread, ReadyStep, StoredCheckpoint
from orchestrator.model.tails import Encoded, whole

_VERSION = 1  # Of every record but these:
_VERSIONS = {"checkpoint": 4, "interrupt": 2, "outcome": 2}


def _before(id_: int, versions: Mapping[str, int]) -> dict[str, int]:
    """Return how long before a checkpoint each version was; of that, the versions."""
    return {key: id_ - version for key, version in versions.items()}


def _relative(f: list[Any]) -> list[Any]:
    """Return a header of layout 3 with its parent, time and versions as how long before it."""
    id_, parent = f[1], f[3] and f[1] - f[3]
    return [4, id_, f[2], parent, f[4], f[5], id_ // 1000 - f[6], _before(id_, f[7]), *f[8:]]


# What makes a record one layout newer, by kind and layout. Pure, and never changed: what they read
# stays in stores for years.
_UPGRADES: Mapping[tuple[str, int], Callable[[list[Any]], list[Any]]] = {
    ("checkpoint", 1): lambda fields: [2, *fields[1:], 1],  # The version of the state came.
    ("checkpoint", 2): lambda fields: [3, *fields[1:], {}],  # Tails came.
    ("checkpoint", 3): _relative,  # The same in fewer bytes.
    ("interrupt", 1): lambda fields: [2, *fields[1:]],  # An id may be bytes.
    ("outcome", 1): lambda fields: [
        2,
        *fields[1:],
        b"",
    ],  # An error came; without it, this is kept.
}


@frozen(kw_only=False)
class Records:
    """The records of this layout, over a codec's two functions."""

    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]
    lineage: Lineage = field(default_factory=Lineage)  # Of the graph, if there is one.

    def store_checkpoint(self, checkpoint: Checkpoint) -> StoredCheckpoint:
        """Return a checkpoint as it is stored: header and plan apart, since steps need no plan."""
        c, id_ = checkpoint, checkpoint.id
        header = [  # See `_relative`.
            *(_VERSIONS["checkpoint"], id_, c.ns, c.parent and id_ - c.parent, c.step, c.source),
            *(id_ // 1000 - c.created_ms, _before(id_, c.versions), c.control, c.seen),
            *(list(c.writers), c.sends, c.sends_version, c.metadata, c.state_version, c.tails),
        ]
        plan = [_VERSION, [[s.node, s.index, list(s.triggers)] for s in c.plan]]
        return StoredCheckpoint(
            id=c.id,
            ns=c.ns,
            header=self.encode(header),
            plan=self.encode(plan),
            refs=tuple(c.names().values()),
        )

    def checkpoint(self, header: bytes, plan: bytes | None = None) -> Checkpoint:
        """Return a stored checkpoint; without `plan` its plan is empty.

        Raises:
            StateCorruptedError: if the bytes are no checkpoint of a known layout.
        """
        fields = self._fields(header, 16, "checkpoint")
        steps = self._fields(plan, 2, "plan")[1] if plan is not None else []
        id_, parent = fields[1], fields[3]
        checkpoint = Checkpoint(
            id=id_,
            ns=fields[2],
            parent=parent and id_ - parent,
            step=fields[4],
            source=fields[5],
            created_ms=id_ // 1000 - fields[6],
            versions=_before(id_, fields[7]),
            control=fields[8],
            seen=fields[9],
            writers=tuple(fields[10]),
            sends=fields[11],
            sends_version=fields[12],
            metadata=fields[13],
            plan=tuple(PlannedStep(n, i, tuple(t)) for n, i, t in steps) if steps else (),
            state_version=fields[14],
            tails=fields[15],
        )
        return self.lineage.renamed(checkpoint) if self.lineage.renames else checkpoint

    def takes_input(self, stored: StoredCheckpoint) -> bool:
        """Return whether a checkpoint holds an input, by its plan: its header may not be whole.

        Raises:
            StateCorruptedError: if the plan is not.
        """
        return any(node == START for node, *_ in self._fields(stored.plan, 2, "plan")[1])

    def step(self, step: ReadyStep) -> ReadyStep:
        """Return a stored step in the names of this graph."""
        name = self.lineage.node(step.node)
        if name == step.node:
            return step
        triggers = tuple(self.lineage.channels.get(key, key) for key in step.triggers)
        return replace(step, node=name, triggers=triggers, stored=step.node)

    def values(self, checkpoint: Checkpoint, blobs: Mapping[str, Encoded]) -> StoredValues:
        """Return the values of the state that a checkpoint refers to; see `StoredValues`.

        Those of an earlier version of the graph are migrated.
        """
        stored = StoredValues(checkpoint.names(), blobs, self.decode)
        version = checkpoint.state_version
        if version is None or version >= self.lineage.version or not stored:
            return stored
        before = dict(stored)
        after = self.lineage.migrated(version, before)
        held = {key: self.encode(storable(value)) for key, value in after.items()}
        own = {key: key for key in held}
        was = {key: whole(blobs[name]) for key, name in stored.keys_.items()}
        changes = {k: after[k] for k, data in held.items() if data != was.get(k)}
        gone = dict.fromkeys((key for key in was if key not in held), MISSING)
        return StoredValues(own, held, self.decode, {**changes, **gone}, migrated=True)

    def frame(self, loaded: LoadedThread) -> Frame:
        """Return a loaded thread's checkpoint with its values, and what its `Send`s carry.

        Raises:
            StateCorruptedError: if the bytes are no checkpoint of a known layout.
        """
        checkpoint = self.checkpoint(loaded.checkpoint.header, loaded.checkpoint.plan)
        args = {
            step.step.index: self.decode(loaded.blobs[step.step.arg])
            for step in loaded.steps.values()
            if step.step.arg and step.step.arg in loaded.blobs
        }
        values = self.values(checkpoint, loaded.blobs)
        return Frame(checkpoint, values, loaded.head.stop, args, values.changes)

    def store_outcome(self, outcome: Outcome) -> bytes:
        """Return what a completed step did, as it is stored.

        Raises:
            UnserializableValueError: if a value cannot be, with the write and the path to it.
        """
        writes = [
            [channel, _send_fields(value) if channel == SENDS else storable(value)]
            for channel, value in outcome.writes
        ]
        asked = [[i.value, i.id, i.key, i.response_schema] for i in outcome.interrupts]
        o = outcome
        record = [_VERSION, writes, o.attempt, o.fence, o.worker, o.claimed_ms, asked]
        if o.error:
            record = [2, *record[1:], o.error]
        try:
            return self.encode(record)
        except UnserializableValueError:
            for channel, value in outcome.writes:  # Which one was it?
                if channel == SENDS:
                    self.check(f"what is sent to {value.node!r}", value.arg)
                else:
                    self.check(f"the write to {channel!r}", storable(value))
            raise

    def check(self, what: str, value: Any) -> bytes:
        """Return a value as it is stored; if it cannot be, say what it is.

        Raises:
            UnserializableValueError: with the path to what cannot be.
        """
        try:
            return self.encode(value)
        except UnserializableValueError as error:
            raise UnserializableValueError(f"{what}: {error}") from None

    def outcome(self, data: bytes) -> Outcome:
        """Return a stored outcome.

        Raises:
            StateCorruptedError: if the bytes are none.
        """
        fields = self._fields(data, 8, "outcome")
        return Outcome(
            writes=tuple(
                (SENDS, self._send(value))
                if channel == SENDS
                else self.lineage.write(channel, value)
                for channel, value in fields[1]
            ),
            attempt=fields[2],
            fence=fields[3],
            worker=fields[4],
            claimed_ms=fields[5],
            interrupts=tuple(Interrupt(*asked) for asked in fields[6]),
            error=fields[7],
        )

    def store_interrupt(self, interrupt: Interrupt) -> bytes:
        """Return a question as it is stored."""
        i, version = interrupt, _VERSIONS["interrupt"]
        return self.encode([version, i.value, hex_bytes(i.id) or i.id, i.key, i.response_schema])

    def interrupt(self, data: bytes) -> Interrupt:
        """Return a stored question."""
        _, value, id_, key, schema = self._fields(data, 5, "interrupt")
        return Interrupt(value, id_.hex() if isinstance(id_, bytes) else id_, key, schema)

    def store_error(self, error: StepError) -> bytes:
        """Return an error record as it is stored."""
        e = error
        return self.encode(
            [
                _VERSION,
                e.type,
                e.module,
                e.message,
                e.traceback,
                e.node,
                e.step,
                e.attempt,
                e.worker,
            ]
        )

    def error(self, data: bytes) -> StepError | None:
        """Return a stored error record, or `None` for no bytes."""
        if not data:
            return None
        names = ("type", "module", "message", "traceback", "node", "step", "attempt", "worker")
        return StepError(**dict(zip(names, self._fields(data, 9, "error")[1:], strict=True)))

    def _fields(self, data: bytes, count: int, what: str) -> list[Any]:
        fields, newest = self.decode(data), _VERSIONS.get(what, _VERSION)
        if not isinstance(fields, list) or not fields or not isinstance(fields[0], int):
            raise StateCorruptedError(f"stored bytes are no {what}")
        if fields[0] > newest:
            msg = (
                f"a stored {what} has layout {fields[0]}, and this version of graphstalk knows "
                f"layouts up to {newest}. Nothing was changed; use the version that wrote it, or a "
                f"later one"
            )
            raise NewerLayoutError(msg)
        if fields[0] != newest:
            with suppress(LookupError, TypeError, AttributeError):  # It only begins like a record.
                while (upgrade := _UPGRADES.get((what, fields[0]))) is not None:
                    fields = upgrade(fields)
        if len(fields) != count or fields[0] != newest:
            raise StateCorruptedError(f"stored bytes are no {what} of layout {newest}")
        return fields

    def _send(self, fields: list[Any]) -> Send:
        send = _send(fields)
        node = self.lineage.node(send.node)
        return send if node == send.node else Send(node, send.arg, timeout=send.timeout)


def _send_fields(send: Send) -> list[Any]:
    t = send.timeout
    return [send.node, send.arg, [t.run_timeout, t.idle_timeout, t.refresh_on] if t else None]


def _send(fields: list[Any]) -> Send:
    node, arg, t = fields
    timeout = TimeoutPolicy(run_timeout=t[0], idle_timeout=t[1], refresh_on=t[2]) if t else None
    return Send(node, arg, timeout=timeout)
