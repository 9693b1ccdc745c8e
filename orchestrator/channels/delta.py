"""A channel whose reducer gets all writes of a superstep in one call."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, Self

from orchestrator.channels.base import MISSING, UNCHANGED, Channel, replacement_in
from orchestrator.channels.reducers import declared_start, differs, name_of, start_of
from orchestrator.errors import InvalidGraphError


class DeltaChannel(Channel):
    """Fold the writes of a superstep into the value at once: `reducer(value, [write, …])`.

    LangGraph stores only the writes of such a channel and folds them again on every load; so there
    the reducer must give the same for one batch as for two halves of it. Here the value is stored,
    as that of any other channel, and nothing is folded twice. A reducer that is right there is
    right here.

    The name and the signature are LangGraph's; `snapshot_frequency` has no effect.
    """

    kind = "delta"

    def __init__(
        self,
        reducer: Callable[[Any, Sequence[Any]], Any],
        typ: Any = None,
        *,
        snapshot_frequency: int = 100,
        key: str = "",
    ) -> None:
        """Start from `typ()`; in an annotation, `typ` is the annotated type.

        Raises:
            ValueError: if `snapshot_frequency` is not positive.
            InvalidGraphError: if `typ` has no empty value to start from.
        """
        if snapshot_frequency <= 0:
            msg = f"snapshot_frequency must be a positive int, got {snapshot_frequency}"
            raise ValueError(msg)
        self.reducer, self.snapshot_frequency, self.key = reducer, snapshot_frequency, key
        self.typ = list if typ is None else typ
        factory = start_of(self.typ)
        if factory is None:
            msg = (
                f"a DeltaChannel starts from the empty value of its type, and {self.typ!r} has "
                f"none{f' (key {key!r})' if key else ''}. Annotate a type that can be called "
                f"without arguments, such as list or dict"
            )
            raise InvalidGraphError(msg)
        self._empty = self._factory = factory

    def named(self, key: str, typ: Any) -> Self:
        """Return this rule for a key, starting from the key's own type."""
        frequency = self.snapshot_frequency
        return type(self)(self.reducer, typ, snapshot_frequency=frequency, key=key)

    def declare(self, default: Callable[[], Any]) -> None:
        """Begin with the declared default."""
        super().declare(default)
        self._factory = declared_start(default, self._empty) or self._empty

    def begins(self) -> bool:
        """Return whether the declared default is no empty value."""
        return differs(self._factory, self._empty)

    def get(self, value: Any) -> Any:
        """Return the value, or a fresh start value."""
        return self._factory() if value is MISSING else value

    def update(self, value: Any, writes: Sequence[Any]) -> Any:
        """Fold all writes at once; one `Overwrite` replaces value and all other writes.

        `Overwrite(None)` starts over.

        Raises:
            InvalidUpdateError: if two writes of a superstep both overwrite.
        """
        if not writes:
            return UNCHANGED
        replaces, new = replacement_in(writes, self.key)
        if replaces:
            return self._factory() if new is None else copy.copy(new)
        return self.reducer(self.get(value), list(writes))

    def describe(self) -> str:
        """Name the reducer."""
        return f"{self.kind}:{name_of(self.reducer)}"
