"""Types as pydantic understands them, for schemas and for values that must fit."""

from __future__ import annotations

import sys
import types
import typing
from functools import lru_cache
from typing import Annotated, Any, NotRequired, Required, Union, get_args, get_origin

__all__ = ["adapter"]


def adapter(schema: Any) -> Any:
    """Return pydantic's `TypeAdapter` of a type."""
    try:
        return _cached(schema)
    except TypeError:  # What cannot be hashed is adapted each time.
        return _cached.__wrapped__(schema)


@lru_cache(maxsize=256)
def _cached(schema: Any) -> Any:
    from pydantic import TypeAdapter  # noqa: PLC0415 - slow to import, and seldom needed

    return TypeAdapter(_portable(schema) if sys.version_info < (3, 12) else schema)


def _portable(hint: Any) -> Any:
    """Return a type in which pydantic can read TypedDicts: before 3.12, not those of `typing`."""
    if typing.is_typeddict(hint):
        from typing_extensions import TypedDict  # noqa: PLC0415 - pydantic needs it, too

        hints = typing.get_type_hints(hint, include_extras=True)
        fields = {k: _field(v, required=k in hint.__required_keys__) for k, v in hints.items()}
        return TypedDict(hint.__name__, fields)  # type: ignore[operator]
    origin, args = get_origin(hint), get_args(hint)
    if not args or origin is typing.Literal:
        return hint
    inner = tuple(_portable(arg) for arg in args)
    if origin is Annotated:
        return Annotated[(inner[0], *hint.__metadata__)]
    if origin in {Union, types.UnionType}:
        return Union[inner]  # noqa: UP007 - of a tuple
    try:
        return origin[inner] if origin is not None else hint
    except TypeError:
        return hint


def _field(hint: Any, *, required: bool) -> Any:
    origin = get_origin(hint)
    inner = get_args(hint)[0] if origin in {Required, NotRequired} else hint
    return _portable(inner) if required else NotRequired[_portable(inner)]
