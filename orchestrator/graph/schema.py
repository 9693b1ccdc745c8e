"""From the type of a state to channels, and from channels back to what a node sees."""

from __future__ import annotations

import dataclasses
import enum
import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any, NotRequired, Required, TypeVar, get_args, get_origin

from orchestrator.channels import (
    MISSING,
    BinaryOperatorAggregate,
    Channel,
    LastValue,
)
from orchestrator.errors import InvalidGraphError
from orchestrator.graph.managed import Loop, ManagedValue
from orchestrator.serde.classes import has_class_form

__all__ = [
    "CONTROL",
    "ROOT",
    "Reader",
    "channels_of",
    "codec_classes",
    "field_hints",
    "managed_of",
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
    return {n: _channel(n, hint) for n, hint in hints.items() if _managed(hint) is None}


def managed_of(schema: Any) -> dict[str, type[ManagedValue]]:
    """Return the keys of a state type that the engine fills in."""
    found = {name: _managed(hint) for name, hint in field_hints(schema).items()}
    return {name: value for name, value in found.items() if value is not None}


def _managed(hint: Any) -> type[ManagedValue] | None:
    if get_origin(hint) in {Required, NotRequired}:
        hint = get_args(hint)[0]
    extras = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    return next((e for e in extras if isinstance(e, type) and issubclass(e, ManagedValue)), None)


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
            return extra.named(key, typ)
        if isinstance(extra, type) and issubclass(extra, Channel):
            return extra(typ).named(key, typ)  # type: ignore[call-arg]
    last = extras[-1]
    if callable(last) and not isinstance(last, type):
        if _positional(last) != 2:
            msg = f"Invalid reducer of {key!r}: it must take a value and a write ({last!r:.80})"
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
    managed: Mapping[str, type[ManagedValue]] = dataclasses.field(default_factory=dict)
    is_class: bool = dataclasses.field(init=False)  # Whether the schema is a class with fields.

    def __post_init__(self) -> None:
        """Look at the schema once."""
        is_class = dataclasses.is_dataclass(self.schema) or hasattr(self.schema, "model_fields")
        object.__setattr__(self, "is_class", is_class)

    def read(
        self, channels: Mapping[str, Channel], values: Mapping[str, Any], loop: Loop | None = None
    ) -> Any:
        """Return the state as the schema's type; keys without a value are left out."""
        seen: dict[str, Any] = {}
        for key in self.keys:
            value = channels[key].get(values.get(key, MISSING))
            if value is not MISSING:
                seen[key] = value
        if loop is not None:
            seen.update({key: value.get(loop) for key, value in self.managed.items()})
        return self.coerce(seen)

    def coerce(self, seen: dict[str, Any]) -> Any:
        """Return plain keys as the schema's type."""
        if self.keys == (ROOT,):
            return seen.get(ROOT)
        return self.schema(**seen) if self.is_class else seen


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
    """Return the classes that annotations name, at any depth, and that a codec can take apart.

    Enums, dataclasses, named tuples and pydantic models: in unions, containers, `Annotated`,
    aliases and generics, and in the fields of each other.
    """
    found: dict[type, None] = {}
    seen: set[Any] = set()
    todo = list(hints)
    while todo:
        hint = todo.pop()
        if isinstance(hint, list):  # The parameters of a `Callable`.
            todo.extend(hint)
            continue
        mark = hint if isinstance(hint, type) else id(hint)
        if mark in seen:
            continue
        seen.add(mark)
        todo.extend(_named_in(hint))
        if not isinstance(hint, type) or isinstance(hint, types.GenericAlias):
            continue
        if has_class_form(hint):
            found[hint] = None
            todo.extend(_field_types(hint))
        elif typing.is_typeddict(hint):
            todo.extend(_field_types(hint))
    return list(found)


def _named_in(hint: Any) -> Iterator[Any]:
    """Yield what an annotation consists of."""
    yield from get_args(hint)
    origin = get_origin(hint)
    if isinstance(origin, type):
        yield origin  # `Pair[int]` is made of `int` and of the dataclass `Pair`.
    # `NewType`, a `type` alias, a bound of a type variable, a channel in `Annotated`.
    for place in ("__supertype__", "__value__", "__bound__", "typ"):
        if place != "typ" or isinstance(hint, Channel):
            inner = getattr(hint, place, None)
            if inner is not None and not isinstance(hint, type):
                yield inner
    if isinstance(hint, TypeVar):
        yield from hint.__constraints__
    if isinstance(hint, enum.Enum):  # In a `Literal`.
        yield type(hint)
    generic = getattr(hint, "__pydantic_generic_metadata__", None)
    if isinstance(generic, Mapping):
        yield from (generic.get("origin"), *generic.get("args", ()))


def _field_types(cls: type) -> Iterator[Any]:
    """Yield the annotations of a class, those that can be resolved."""
    fields = getattr(cls, "model_fields", None)
    if isinstance(fields, Mapping):  # pydantic resolved them, also those of a generic.
        yield from (info.annotation for info in fields.values())
        yield from (getattr(cls, "__private_attributes__", None) and _private_types(cls)) or ()
        return
    try:
        yield from field_hints(cls).values()
    except InvalidGraphError:  # A name that only a type checker sees; the other fields have theirs.
        for base in cls.__mro__:
            for name, hint in vars(base).get("__annotations__", {}).items():
                yield from _resolved(name, hint, base)


def _private_types(cls: type) -> list[Any]:
    return [
        found
        for base in cls.__mro__
        for name, hint in vars(base).get("__annotations__", {}).items()
        if name.startswith("_")
        for found in _resolved(name, hint, base)
    ]


def _resolved(name: str, hint: Any, owner: type) -> list[Any]:
    one = types.SimpleNamespace(__annotations__={name: hint})
    module = sys.modules.get(owner.__module__)
    try:
        found = typing.get_type_hints(one, vars(module) if module else {}, include_extras=True)
    except (NameError, TypeError, SyntaxError, AttributeError):
        return []
    return list(found.values())


def _name(schema: Any) -> str:
    return getattr(schema, "__qualname__", repr(schema))
