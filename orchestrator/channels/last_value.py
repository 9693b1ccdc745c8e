"""Channels that keep one value: the last, any of several equal ones, or only for a superstep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orchestrator.channels.base import MISSING, UNCHANGED, Channel
from orchestrator.errors import InvalidUpdateError


class LastValue(Channel):
    """Keep the last value; at most one write per superstep."""

    kind = "last"

    def __init__(self, typ: Any = Any, key: str = "") -> None:
        self.typ, self.key = typ, key

    def update(self, value: Any, writes: Sequence[Any]) -> Any:
        """Take the one write."""
        del value
        if not writes:
            return UNCHANGED
        if len(writes) > 1:
            raise InvalidUpdateError(_more_than_one(self.key, len(writes)))
        return writes[0]


class LastValueAfterFinish(Channel):
    """Keep the last value, but release it only when the run would otherwise end."""

    kind = "last-after-finish"
    consumes = True
    finishes = True

    def __init__(self, typ: Any = Any, key: str = "") -> None:
        self.typ, self.key = typ, key

    def update(self, value: Any, writes: Sequence[Any]) -> Any:
        """Take the last write; it waits for the end of the run."""
        del value
        return (writes[-1], False) if writes else UNCHANGED

    def get(self, value: Any) -> Any:
        """Return the value once it is shown."""
        return value[0] if value is not MISSING and value[1] else MISSING

    def consume(self, value: Any) -> Any:
        """Forget the value after it triggered its node."""
        return MISSING if value is not MISSING and value[1] else UNCHANGED

    def finish(self, value: Any) -> Any:
        """Show the value."""
        return (value[0], True) if value is not MISSING and not value[1] else UNCHANGED


class AnyValue(Channel):
    """Keep the last of several writes, which should be equal; cleared when not written."""

    kind = "any"
    transient = True

    def __init__(self, typ: Any = Any, key: str = "") -> None:
        self.typ, self.key = typ, key

    def update(self, value: Any, writes: Sequence[Any]) -> Any:
        """Take the last write, or clear."""
        if writes:
            return writes[-1]
        return UNCHANGED if value is MISSING else MISSING


class EphemeralValue(Channel):
    """Keep the value for the next superstep only."""

    kind = "ephemeral"
    transient = True

    def __init__(self, typ: Any = Any, guard: bool = True, key: str = "") -> None:  # noqa: FBT001, FBT002 - LangGraph's signature
        """With `guard`, allow at most one write per superstep."""
        self.typ, self.guard, self.key = typ, guard, key

    def update(self, value: Any, writes: Sequence[Any]) -> Any:
        """Take the last write, or clear."""
        if not writes:
            return UNCHANGED if value is MISSING else MISSING
        if self.guard and len(writes) > 1:
            raise InvalidUpdateError(_more_than_one(self.key, len(writes)))
        return writes[-1]


class UntrackedValue(EphemeralValue):
    """Keep the value between supersteps of one process, and never store it."""

    kind = "untracked"
    transient = False
    persisted = False

    def update(self, value: Any, writes: Sequence[Any]) -> Any:
        """Take the last write."""
        return super().update(value, writes) if writes else UNCHANGED


def _more_than_one(key: str, count: int) -> str:
    return (
        f"At key {key!r}: {count} values for {key!r} in one superstep, and it can take one. "
        f"Give it a reducer: Annotated[<type>, <function of two arguments>]"
    )
