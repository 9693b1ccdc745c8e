"""What a channel starts from before anything is written, and what its reducer is called."""

from __future__ import annotations

import collections.abc
from collections.abc import Callable
from typing import Any, get_origin

__all__ = ["declared_start", "differs", "name_of", "start_of"]

# What an abstract annotation starts from, as LangGraph maps it.
_ABSTRACT: dict[Any, Callable[[], Any]] = {
    collections.abc.Sequence: list,
    collections.abc.MutableSequence: list,
    collections.abc.Set: set,
    collections.abc.MutableSet: set,
    collections.abc.Mapping: dict,
    collections.abc.MutableMapping: dict,
}


def start_of(typ: Any) -> Callable[[], Any] | None:
    """Return what makes the empty value of a type, or `None` if it has none."""
    factory = _ABSTRACT.get(get_origin(typ) or typ, get_origin(typ) or typ)
    try:
        factory()
    except Exception:  # noqa: BLE001 - any failure means the same: this type has no start value
        return None
    return factory  # type: ignore[no-any-return]


def declared_start(
    default: Callable[[], Any] | None, empty: Callable[[], Any] | None
) -> Callable[[], Any] | None:
    """Return what makes the value that a channel begins with: its declared default, or the empty.

    A default of `None` says that there is nothing yet.
    """
    if default is None:
        return empty
    made = default()
    return empty if made is None else default


def differs(start: Callable[[], Any] | None, empty: Callable[[], Any] | None) -> bool:
    """Return whether a channel begins with something else than the empty value of its type."""
    if start is None or start is empty:
        return False
    try:
        return empty is None or bool(start() != empty())
    except Exception:  # noqa: BLE001 - values that do not say whether they are equal
        return True


def name_of(reducer: Callable[..., Any]) -> str:
    """Return the name by which a fingerprint knows a reducer."""
    return str(getattr(reducer, "__qualname__", type(reducer).__name__))
