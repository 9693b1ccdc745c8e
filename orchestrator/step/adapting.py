"""Types as pydantic understands them, for schemas and for values that must fit."""

from __future__ import annotations

import sys
import types
import typing
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, NotRequired, Required, Union, get_args, get_origin

__all__ = ["adapter", "fields_model", "is_model", "is_typeddict", "root_model"]


def adapter(schema: Any) -> Any:
    """Return pydantic's `TypeAdapter` of a type."""
    try:
        return _cached(schema)
    except TypeError:  # What cannot be hashed is adapted each time.
        return _cached.__wrapped__(schema)


@lru_cache(maxsize=256)
def _cached(schema: Any) -> Any:
    from pydantic import TypeAdapter  # noqa: PLC0415 - slow to import, and seldom needed

    return TypeAdapter(_adapted(schema))


def is_model(schema: Any) -> bool:
    """Return whether a type is a pydantic model."""
    return isinstance(schema, type) and hasattr(schema, "model_json_schema")


def is_typeddict(schema: Any) -> bool:
    """Return whether a type is a TypedDict, of `typing` or of `typing_extensions`."""
    return isinstance(schema, type) and hasattr(schema, "__required_keys__")


def root_model(title: str, schema: Any, default: Any = ...) -> Any:
    """Return a model of one value of a type, under a title."""
    from pydantic import ConfigDict, Field, RootModel  # noqa: PLC0415 - slow to import

    class Root(RootModel[_adapted(schema)]):  # type: ignore[misc]
        model_config = ConfigDict(title=title, arbitrary_types_allowed=True)
        root: _adapted(schema) = Field(default)  # type: ignore[valid-type]

    return Root


def fields_model(title: str, fields: Mapping[str, tuple[Any, Any]]) -> Any:
    """Return a model of fields: name → type and default, `...` for none."""
    from pydantic import BaseModel, ConfigDict, Field, create_model  # noqa: PLC0415 - slow to import

    config = ConfigDict(arbitrary_types_allowed=True, protected_namespaces=())
    taken = {name for name in fields if name.startswith("_") or hasattr(BaseModel, name)}
    defined: dict[str, Any] = {}
    for name, (typ, default) in fields.items():
        shown = name.lstrip("_").replace("_", " ").title()
        defined[f"private_{name}" if name in taken else name] = (
            (_adapted(typ), Field(default, alias=name, title=shown))
            if name in taken
            else (_adapted(typ), default)
        )
    return create_model(title, __config__=config, **defined)


def _adapted(schema: Any) -> Any:
    return _portable(schema) if sys.version_info < (3, 12) else schema


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
