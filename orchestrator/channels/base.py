"""The promises of a channel.

A channel is the update rule of one key of the state. It holds no state of its own: its methods
take the stored value (`MISSING` while there is none) and return the next one, so one frozen graph
serves every thread, and applying a step is a pure function.

Rule 1: `update` gets all writes of a superstep at once, in plan order, never in completion order.
Rule 2: a method that changes nothing returns `UNCHANGED`; only a change gives the channel a new
        version and can trigger nodes.
Rule 3: a channel never mutates the stored value; nodes of other steps may hold it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, Final, Self

from orchestrator.errors import InvalidUpdateError


class _Mark(Enum):
    MISSING = "missing"
    UNCHANGED = "unchanged"


MISSING: Final = _Mark.MISSING
UNCHANGED: Final = _Mark.UNCHANGED


class Channel:
    """The update rule of one key; the base class is the rule that keeps nothing."""

    typ: Any = Any  # The type of the key, if the rule was given it.
    key: str = ""  # The key, for messages.
    kind = "channel"  # Part of the graph's fingerprint.
    transient = False  # Whether a superstep that writes nothing here clears the value.
    consumes = False  # Whether triggering a node uses the value up.
    finishes = False  # Whether the value only shows once the run has nothing else to do.
    appends = False  # Whether `appended` may return a list.
    persisted = True  # Whether the value is stored with the checkpoint.
    default: Callable[[], Any] | None = None  # Makes the default that the schema declares.

    def update(self, value: Any, writes: Sequence[Any]) -> Any:
        """Return the value after `writes`, or `UNCHANGED`.

        Raises:
            InvalidUpdateError: if the rule does not allow these writes in one superstep.
        """
        raise NotImplementedError

    def appended(self, writes: Sequence[Any]) -> list[Any] | None:
        """Return the items that `update` appends to any list, or `None` if it does more.

        So a growing list can be stored without reading the whole of it.
        """
        del writes
        return None

    def get(self, value: Any) -> Any:
        """Return the value that nodes see, or `MISSING`."""
        return value

    def consume(self, value: Any) -> Any:
        """Return the value after it triggered a node."""
        del value
        return UNCHANGED

    def finish(self, value: Any) -> Any:
        """Return the value when the run is about to end."""
        del value
        return UNCHANGED

    def describe(self) -> str:
        """Return the channel's part of the fingerprint."""
        return self.kind

    def declare(self, default: Callable[[], Any]) -> None:
        """Set the function that makes the declared default: nodes read it before the first write.

        A rule that folds writes begins with it, unless it is `None`.
        """
        self.default = default

    def begins(self) -> bool:
        """Return whether writes are reduced into a declared default that is not empty."""
        return False

    def named(self, key: str, typ: Any) -> Self:
        """Return this rule for a key of the state of type `typ`.

        A rule in an annotation may be used for several keys, so it is copied.
        """
        del typ
        named = copy.copy(self)
        named.key = key
        return named


BaseChannel = Channel  # LangGraph's name.


class Overwrite:
    """A write that replaces the value of a reduced channel instead of being reduced into it."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        return f"Overwrite({self.value!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Overwrite) and other.value == self.value

    __hash__ = None  # type: ignore[assignment]


def storable(write: Any) -> Any:
    """Return a write as plain data for records; a channel treats it equally."""
    return {"__overwrite__": write.value} if isinstance(write, Overwrite) else write


def overwrite_of(write: Any) -> tuple[bool, Any]:
    """Return whether `write` replaces the value, and the replacement."""
    if isinstance(write, Overwrite):
        return True, write.value
    if isinstance(write, dict):
        if len(write) == 1 and "__overwrite__" in write:
            return True, write["__overwrite__"]
        # LangGraph's `Overwrite`, a dataclass, as JSON has it.
        if write.get("type") == "__overwrite__" and "value" in write:
            return True, write["value"]
    return False, None


def replacement_in(writes: Sequence[Any], key: str) -> tuple[bool, Any]:
    """Return whether a write of a superstep replaces the value of `key`, and the replacement.

    Raises:
        InvalidUpdateError: if two of them do.
    """
    replaced: list[Any] = []
    for write in writes:
        if isinstance(write, (Overwrite, dict)):  # Nothing else can replace a value.
            is_overwrite, new = overwrite_of(write)
            if is_overwrite:
                replaced.append(new)
    if len(replaced) > 1:
        msg = (
            f"At key {key!r}: Can receive only one Overwrite value per super-step. There are "
            f"{len(replaced)} Overwrite writes for {key!r}: let one node overwrite it"
        )
        raise InvalidUpdateError(msg)
    return (True, replaced[0]) if replaced else (False, None)
