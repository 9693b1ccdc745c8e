"""From the type of a state to channels, and from channels back to what a node sees."""

from __future__ import annotations

import dataclasses
import enum
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any, NotRequired, Required, get_args, get_origin

from orchestrator.channels import (
    MISSING,
    BinaryOperatorAggregate,
    Channel,
    LastValue,
)
from orchestrator.errors import InvalidGraphError

__all__ = [
    "CONTROL",
    "ROOT",
    "Reader",
    "channels_of",
    "codec_classes",
    "field_hints",
    "update_items",
]

ROOT = "__root__"  # The one channel of a state that has no fields.
CONTROL = ("branch:to:", "join:")  # How the channels begin that are no keys of the state.


def field_hints(schema: Any) -> dict[str, Any]:
    """Return the fields of a state type with their annotations, `Annotated` kept.

    Raises:
        InvalidGraphError: if an annotation names something that cannot be resolved.
    """
    try:
        hints = typing.get_type_hints(schema, include_extras=True)
    except TypeError:
        return {}
    except NameError as error:
        msg = f"the annotations of {_name(schema)} cannot be resolved: {error}"
        raise InvalidGraphError(msg) from error
    fields = getattr(schema, "model_fields", None)  # pydantic
    if isinstance(fields, Mapping):
        return {name: hints[name] for name in fields}
    if dataclasses.is_dataclass(schema):
        return {f.name: hints[f.name] for f in dataclasses.fields(schema)}
    return hints if isinstance(schema, type) else {}


def channels_of(schema: Any) -> dict[str, Channel]:
    """Return the channels a state type stands for, in the order of its fields.

    Raises:
        InvalidGraphError: if a field's annotation cannot be understood.
    """
    hints = field_hints(schema)
    if not hints:
        return {ROOT: _channel(ROOT, schema)}
    for name in hints:
        if name.startswith(CONTROL) or (name.startswith("__") and name.endswith("__")):
            msg = f"the key {name!r} of {_name(schema)} is reserved; give it another name"
            raise InvalidGraphError(msg)
    return {name: _channel(name, hint) for name, hint in hints.items()}


def _channel(key: str, hint: Any) -> Channel:
    if get_origin(hint) in {Required, NotRequired}:
        hint = get_args(hint)[0]
    if get_origin(hint) is not Annotated:
        return LastValue(hint, key)
    typ, *extras = get_args(hint)
    if get_origin(typ) in {Required, NotRequired}:
        typ = get_args(typ)[0]
    for extra in extras:
        if isinstance(extra, Channel):
            return extra
        if isinstance(extra, type) and issubclass(extra, Channel):
            return extra(typ)  # type: ignore[call-arg]
    last = extras[-1]
    if callable(last) and not isinstance(last, type):
        if _positional(last) != 2:
            msg = f"the reducer of {key!r} must take two arguments (value so far, write): {last!r}"
            raise InvalidGraphError(msg)
        return BinaryOperatorAggregate(typ, last, key)
    return LastValue(typ, key)


def _positional(function: Callable[..., Any]) -> int:
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:
        return 2  # Built-ins such as operator.add in some versions: taken at their word.
    kinds = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
    return sum(p.kind in kinds for p in parameters)


@dataclasses.dataclass(frozen=True, slots=True)
class Reader:
    """How a node sees the state: which keys, and as an instance of which type."""

    schema: Any
    keys: tuple[str, ...]

    def read(self, channels: Mapping[str, Channel], values: Mapping[str, Any]) -> Any:
        """Return the state as the schema's type; keys without a value are left out."""
        seen = {}
        for key in self.keys:
            value = channels[key].get(values.get(key, MISSING))
            if value is not MISSING:
                seen[key] = value
        return self.coerce(seen)

    def coerce(self, seen: dict[str, Any]) -> Any:
        """Return plain keys as the schema's type."""
        if self.keys == (ROOT,):
            return seen.get(ROOT)
        if dataclasses.is_dataclass(self.schema) or hasattr(self.schema, "model_fields"):
            return self.schema(**seen)
        return seen


def update_items(result: Any, keys: Iterable[str]) -> list[tuple[str, Any]] | None:
    """Return the update that a dataclass, pydantic or other annotated object stands for.

    As LangGraph: fields that are `None` by default and were not set are no update. `None` means
    that `result` is no such object.
    """
    cls = type(result)
    if not (dataclasses.is_dataclass(cls) or hasattr(cls, "model_fields")):
        return None
    was_set: set[str] = getattr(result, "model_fields_set", set())
    defaults = {name: f.default for name, f in getattr(cls, "model_fields", {}).items()}
    return [
        (key, value)
        for key in keys
        if (value := getattr(result, key, MISSING)) is not MISSING
        and (value is not None or defaults.get(key, MISSING) is not None or key in was_set)
    ]


def codec_classes(hints: Iterable[Any]) -> list[type]:
    """Return the enums, dataclasses and pydantic models that annotations name, at any depth."""
    found: dict[type, None] = {}
    todo = list(hints)
    while todo:
        hint = todo.pop()
        todo.extend(get_args(hint))
        if not isinstance(hint, type) or hint in found or isinstance(hint, types.GenericAlias):
            continue
        fields = dataclasses.is_dataclass(hint) or isinstance(
            getattr(hint, "model_fields", None), Mapping
        )
        if issubclass(hint, enum.Enum) or fields:
            found[hint] = None
        if fields or typing.is_typeddict(hint):
            todo.extend(_hints_or_none(hint))
    return list(found)


def _hints_or_none(cls: type) -> Iterator[Any]:
    try:
        yield from field_hints(cls).values()
    except InvalidGraphError:
        return  # A class of somebody else; its values may still be plain.


def _name(schema: Any) -> str:
    return getattr(schema, "__qualname__", repr(schema))
