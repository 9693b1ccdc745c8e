"""Frozen records: dataclasses that are cheap to make and to copy.

`dataclasses.dataclass(frozen=True)` sets every field through `object.__setattr__`, which takes most
of the time of making one, and a step makes some fifty. So type checkers refuse a change, and a
running program does not check. `FREEZES` turns the check on; the unit tests run with it once.
Classes for users are dataclasses that are frozen by Python.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, dataclass_transform, overload

__all__ = ["frozen", "replace"]

FREEZES = False  # Whether a change raises; tests set it before they import other modules.
_C = TypeVar("_C", bound=type)
_frozen: set[type] = set()


@overload
def frozen(cls: _C, /) -> _C: ...


@overload
def frozen(*, kw_only: bool = True) -> Callable[[_C], _C]: ...


@dataclass_transform(
    frozen_default=True, kw_only_default=True, field_specifiers=(dataclasses.field,)
)
def frozen(cls: Any = None, /, *, kw_only: bool = True) -> Any:
    """Make a class a frozen record with equality and hash by its fields."""
    if cls is None:
        return lambda decorated: _made(decorated, kw_only=kw_only)
    return _made(cls, kw_only=kw_only)


def _made(cls: type, *, kw_only: bool) -> type:
    if FREEZES:
        return dataclasses.dataclass(frozen=True, kw_only=kw_only)(cls)
    _frozen.add(cls)
    return dataclasses.dataclass(unsafe_hash=True, kw_only=kw_only)(cls)


if TYPE_CHECKING:  # Type checkers know the arguments of `dataclasses.replace`, by its name.
    from dataclasses import replace
else:

    def replace(given: Any, /, **changes: Any) -> Any:
        """Return a copy with some fields changed, as `dataclasses.replace` but in one go."""
        cls = type(given)
        if cls not in _frozen:
            return dataclasses.replace(given, **changes)
        made = object.__new__(cls)
        made.__dict__ = given.__dict__ | changes
        return made
