"""Channels that collect writes: by a reducer, as a list, or as a barrier of names."""

from __future__ import annotations

import collections.abc
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any, get_origin

from orchestrator.channels.base import MISSING, UNCHANGED, Channel, replacement_in
from orchestrator.errors import InvalidUpdateError

_CONCATENATING = (operator.add, operator.iadd, operator.concat, operator.iconcat)


# The start value of an abstract annotation, as LangGraph maps it.
_ABSTRACT: dict[Any, Callable[[], Any]] = {
    collections.abc.Sequence: list,
    collections.abc.MutableSequence: list,
    collections.abc.Set: set,
    collections.abc.MutableSet: set,
    collections.abc.Mapping: dict,
    collections.abc.MutableMapping: dict,
}


def start_of(typ: Any) -> Callable[[], Any] | None:
    """Return the function that makes the empty value of a type, or `None`."""
    factory = _ABSTRACT.get(get_origin(typ) or typ, get_origin(typ) or typ)
    try:
        factory()
    except Exception:  # noqa: BLE001 - any failure means the same: this type has no start value
        return None
    return factory  # type: ignore[no-any-return]


def declared_start(
    default: Callable[[], Any] | None, empty: Callable[[], Any] | None
) -> Callable[[], Any] | None:
    """Return the function that makes a channel's first value: the declared default, or empty.

    A default of `None` says that there is nothing yet.
    """
    if default is None:
        return empty
    made = default()
    return empty if made is None else default


def differs(start: Callable[[], Any] | None, empty: Callable[[], Any] | None) -> bool:
    """Return whether a channel begins with another value than the empty one of its type."""
    if start is None or start is empty:
        return False
    try:
        return empty is None or bool(start() != empty())
    except Exception:  # noqa: BLE001 - values that do not say whether they are equal
        return True


def name_of(reducer: Callable[..., Any]) -> str:
    """Return the name by which a fingerprint knows a reducer."""
    return str(getattr(reducer, "__qualname__", type(reducer).__name__))


class BinaryOperatorAggregate(Channel):
    """Fold every write into the value with a function of two arguments."""

    kind = "reduced"

    def __init__(self, typ: Any, operator: Callable[[Any, Any], Any], key: str = "") -> None:
        """Start from `typ()` where that works, else from the first write."""
        self.typ, self.operator, self.key = typ, operator, key
        self._empty = self._factory = start_of(typ)
        self.appends = any(operator is each for each in _CONCATENATING)

    def declare(self, default: Callable[[], Any]) -> None:
        """Begin with the declared default."""
        super().declare(default)
        self._factory = declared_start(default, self._empty)

    def begins(self) -> bool:
        """Return whether the declared default is no empty value."""
        return differs(self._factory, self._empty)

    def get(self, value: Any) -> Any:
        """Return the value, or a fresh start value."""
        return self._factory() if value is MISSING and self._factory else value

    def update(self, value: Any, writes: Sequence[Any]) -> Any:
        """Fold the writes in plan order; one `Overwrite` replaces value and all other writes.

        Raises:
            InvalidUpdateError: if two writes of a superstep both overwrite.
        """
        if not writes:
            return UNCHANGED
        replaces, new = replacement_in(writes, self.key)
        if replaces:
            return new
        value = self.get(value)
        if value is MISSING:
            value, writes = writes[0], writes[1:]
        operator = self.operator
        for write in writes:
            value = operator(value, write)
        return value

    def appended(self, writes: Sequence[Any]) -> list[Any] | None:
        """Return the writes in one list, where the operator concatenates lists."""
        if not self.appends or any(type(write) is not list for write in writes):
            return None
        return writes[0] if len(writes) == 1 else [item for write in writes for item in write]

    def describe(self) -> str:
        """Name the reducer."""
        return f"{self.kind}:{name_of(self.operator)}"


def is_same_rule(one: Channel, other: Channel) -> bool:
    """Return whether two channels reduce alike: by one function, or by lambdas of one code."""
    if one.describe() == other.describe():
        return True
    codes = [_code(channel) for channel in (one, other)]
    return one.kind == other.kind and codes[0] is not None and codes[0] == codes[1]


def _code(channel: Channel) -> tuple[Any, ...] | None:
    """Return the code of a lambda, if it depends on no enclosing scope."""
    operator: Any = getattr(channel, "operator", None)
    code = getattr(operator, "__code__", None)
    if code is None or code.co_name != "<lambda>" or operator.__closure__ is not None:
        return None
    same_globals = id(operator.__globals__)
    return code.co_code, code.co_consts, code.co_names, operator.__defaults__, same_globals


class Topic(Channel):
    """A list of the writes: of one superstep, or of all with `accumulate`."""

    def __init__(self, typ: Any = Any, accumulate: bool = False, key: str = "") -> None:  # noqa: FBT001, FBT002 - LangGraph's signature
        self.typ, self.accumulate, self.key = typ, accumulate, key
        self.kind = "topic:accumulate" if accumulate else "topic"
        self.transient, self.appends = not accumulate, accumulate

    def update(self, value: Any, writes: Sequence[Any]) -> Any:
        """Append the writes; a list write adds its items."""
        items = list(_flatten(writes))
        kept = list(value) if self.accumulate and value is not MISSING else []
        if not items:
            return UNCHANGED if self.accumulate or value is MISSING else MISSING
        return kept + items

    def appended(self, writes: Sequence[Any]) -> list[Any] | None:
        """Return the writes, where they outlive the superstep."""
        return (list(_flatten(writes)) or None) if self.appends else None


class NamedBarrierValue(Channel):
    """Wait for all names (the sources of a join); then trigger once and start over."""

    kind = "barrier"
    consumes = True

    def __init__(self, typ: Any, names: Iterable[str], key: str = "") -> None:
        self.typ, self.names, self.key = typ, frozenset(names), key

    def update(self, value: Any, writes: Sequence[Any]) -> Any:
        """Add the names that arrived; the stored value is their sorted list."""
        seen = set() if value is MISSING else set(value)
        unknown = [name for name in writes if name not in self.names]
        if unknown:
            msg = f"{unknown[0]!r} is not in the join {self.key!r} of {sorted(self.names)}"
            raise InvalidUpdateError(msg)
        added = seen.union(writes)
        return UNCHANGED if added == seen else sorted(added)

    def get(self, value: Any) -> Any:
        """Return `None` (available) once all names arrived."""
        return None if value is not MISSING and len(value) == len(self.names) else MISSING

    def consume(self, value: Any) -> Any:
        """Start over after the join fired."""
        return MISSING if self.get(value) is None else UNCHANGED

    def describe(self) -> str:
        """Name the sources of the join."""
        return f"{self.kind}:{'+'.join(sorted(self.names))}"


class NamedBarrierValueAfterFinish(NamedBarrierValue):
    """A barrier that opens only when the run would otherwise end.

    The stored value is the sorted names, with `""` added once the barrier is open.
    """

    kind = "barrier-after-finish"
    finishes = True

    def update(self, value: Any, writes: Sequence[Any]) -> Any:
        """Add the names that arrived; an open barrier stays open."""
        is_open = value is not MISSING and "" in value
        names = [name for name in value if name] if value is not MISSING else MISSING
        new = super().update(names, writes)
        return new if new is UNCHANGED or not is_open else ["", *new]

    def get(self, value: Any) -> Any:
        """Return `None` (available) once open."""
        return None if value is not MISSING and "" in value else MISSING

    def finish(self, value: Any) -> Any:
        """Open, if all names arrived."""
        complete = value is not MISSING and "" not in value and len(value) == len(self.names)
        return ["", *value] if complete else UNCHANGED


def _flatten(writes: Iterable[Any]) -> Iterable[Any]:
    for write in writes:
        if isinstance(write, list):
            yield from write
        else:
            yield write
