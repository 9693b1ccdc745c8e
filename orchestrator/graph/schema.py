"""From the type of a state to channels, and from channels to the input of a node.

Also the keys whose values the engine computes: `IsLastStep` and `RemainingSteps`.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import sys
import types
import typing
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, get_args, get_origin

from orchestrator.channels import (
    MISSING,
    BinaryOperatorAggregate,
    Channel,
    LastValue,
)
from orchestrator.errors import InvalidGraphError
from orchestrator.graph.fields import (
    Field,
    Maker,
    annotation_of,
    field_hints,
    fields_of,
    is_typed_dict,
    maker_of,
)
from orchestrator.serde.classes import has_class_form


@dataclass(frozen=True, slots=True)
class Loop:
    """The position of a run in its budget of supersteps.

    Attributes:
        step: the number of the current superstep.
        stop: the number of the last one that may begin.
    """

    step: int
    stop: int


class ManagedValue:
    """A value that a node reads under a key of the state, and that the engine computes."""

    @staticmethod
    def get(loop: Loop) -> Any:
        """Return the value in this superstep."""
        raise NotImplementedError


class IsLastStepManager(ManagedValue):
    """Whether the current superstep is the last one of the run's budget."""

    @staticmethod
    def get(loop: Loop) -> bool:
        """Return whether this is the last superstep that may do work."""
        return loop.step == loop.stop - 1


class RemainingStepsManager(ManagedValue):
    """The number of supersteps left in the run's budget."""

    @staticmethod
    def get(loop: Loop) -> int:
        """Return the number."""
        return loop.stop - loop.step


IsLastStep = Annotated[bool, IsLastStepManager]
RemainingSteps = Annotated[int, RemainingStepsManager]


ROOT = "__root__"  # The one channel of a state that has no fields.
CONTROL = ("branch:to:", "join:")  # The prefixes of channels that are no keys of the state.


def channels_of(schema: Any) -> dict[str, Channel]:
    """Return the channels of a state type, in the order of its fields.

    Raises:
        InvalidGraphError: if a field's annotation cannot be understood.
    """
    fields = fields_of(schema)
    if not fields:
        return {ROOT: _channel(ROOT, Field(schema))}
    for name in fields:
        if name.startswith(CONTROL) or (name.startswith("__") and name.endswith("__")):
            msg = f"the key {name!r} of {_name(schema)} is reserved; give it another name"
            raise InvalidGraphError(msg)
    return {n: _channel(n, field) for n, field in fields.items() if not _managed(n, field)}


def schema_of(schema: Any) -> Any:
    """Return the type with fields that an alias or annotation names; others unchanged."""
    typ, extras = annotation_of(schema)
    return typ if fields_of(typ) and _rule(ROOT, extras) is None else schema


def managed_of(schema: Any) -> dict[str, type[ManagedValue]]:
    """Return the keys of a state type whose values the engine computes."""
    found = {name: _managed(name, field) for name, field in fields_of(schema).items()}
    return {name: value for name, value in found.items() if value is not None}


def _managed(key: str, field: Field) -> type[ManagedValue] | None:
    rule = _rule(key, annotation_of(field.hint)[1])
    return rule if isinstance(rule, type) and issubclass(rule, ManagedValue) else None


def _channel(key: str, field: Field) -> Channel:
    typ, extras = annotation_of(field.hint)
    rule = _rule(key, extras)
    channel: Channel
    if rule is None:
        channel = LastValue(typ, key)
    elif isinstance(rule, Channel):
        channel = rule.named(key, typ)
    elif isinstance(rule, type):
        channel = rule(typ).named(key, typ)
    else:
        channel = BinaryOperatorAggregate(typ, rule, key)
    if field.default is not None:
        channel.declare(field.default)
    return channel


def _rule(key: str, extras: Iterable[Any]) -> Any:
    """Return the reducer, channel or managed value in an annotation; `None`: there is none.

    Raises:
        InvalidGraphError: if there are several, or a function has not two parameters.
    """
    rules: dict[int, Any] = {}
    misfit: Any = None
    for extra in extras:
        if isinstance(extra, type):
            if issubclass(extra, (Channel, ManagedValue)):
                rules[id(extra)] = extra
        elif isinstance(extra, Channel):
            rules[id(extra)] = extra
        elif callable(extra) and type(extra).__module__.partition(".")[0] not in _DESCRIBING:
            if _positional(extra) == 2:
                rules[id(extra)] = extra
            else:
                misfit = extra
    if len(rules) > 1:
        found = ", ".join(map(_shown, rules.values()))
        msg = f"the key {key!r} must have one rule, and its annotation has {len(rules)} ({found})"
        raise InvalidGraphError(f"{msg}. Remove all but one")
    if rules:
        return next(iter(rules.values()))
    if misfit is not None:
        msg = f"Invalid reducer of {key!r}: it must take a value and a write ({misfit!r:.80})"
        raise InvalidGraphError(msg)
    return None


# Packages whose objects describe a value, also where they can be called: never reducers.
_DESCRIBING = frozenset({"pydantic", "pydantic_core", "annotated_types", "typing_extensions"})


def _shown(rule: Any) -> str:
    return str(getattr(rule, "__qualname__", None) or type(rule).__qualname__)


def _positional(function: Callable[..., Any]) -> int:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (ValueError, TypeError):
        return 2  # Of built-ins without a signature: accepted.
    kinds = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
    return sum(p.kind in kinds for p in parameters)


@dataclasses.dataclass(frozen=True, slots=True)
class Reader:
    """The input of a node: the keys that it reads, and the type of the instance made of them."""

    schema: Any
    keys: tuple[str, ...]
    managed: Mapping[str, type[ManagedValue]] = dataclasses.field(default_factory=dict)
    make: Maker | None = dataclasses.field(init=False)  # `None`: the input is a dict of the keys.
    own: frozenset[str] = dataclasses.field(init=False)  # Keys whose default the type sets.

    def __post_init__(self) -> None:
        make = None if self.keys == (ROOT,) else maker_of(self.schema)
        fields = fields_of(self.schema) if make else {}
        object.__setattr__(self, "make", make)
        object.__setattr__(self, "own", frozenset(n for n, f in fields.items() if f.default))

    def read(
        self, channels: Mapping[str, Channel], values: Mapping[str, Any], loop: Loop | None = None
    ) -> Any:
        """Return the state as the schema's type; keys without a value or a default are omitted."""
        seen: dict[str, Any] = {}
        for key in self.keys:
            channel = channels[key]
            value = channel.get(values.get(key, MISSING))
            if value is not MISSING:
                seen[key] = value
            elif channel.default is not None and key not in self.own:
                seen[key] = channel.default()
        if loop is not None:
            seen.update({key: value.get(loop) for key, value in self.managed.items()})
        return seen if self.make is None and self.keys != (ROOT,) else self.coerce(seen)

    def coerce(self, seen: dict[str, Any]) -> Any:
        """Return plain keys as the schema's type."""
        if self.keys == (ROOT,):
            return seen.get(ROOT)
        return seen if self.make is None else self.make(seen)


def update_items(
    result: Any, keys: Iterable[str], begun: Container[str] = ()
) -> list[tuple[str, Any]] | None:
    """Return the update that is in a dataclass, pydantic or other annotated object.

    As in LangGraph, fields that are `None` by default and were not set are omitted. So are fields
    of a model that were not set and have a reducer that begins with their default (`begun`): it
    would be reduced into itself. `None` is returned if `result` is no such object.
    """
    if not has_fields(result):
        return None
    was_set: set[str] | None = getattr(result, "model_fields_set", None)
    models = getattr(type(result), "model_fields", {}) if was_set is not None else {}
    found = []
    for key in keys:
        value = getattr(result, key, MISSING)
        if value is MISSING:
            continue
        is_left = was_set is not None and key not in was_set
        if is_left and (key in begun or (value is None and models[key].default is None)):
            continue
        found.append((key, value))
    return found


def has_fields(value: Any) -> bool:
    """Return whether a value is an instance of a class with annotated fields."""
    return any(_own_annotations(base) for base in type(value).__mro__)


def _own_annotations(cls: type) -> Mapping[str, Any]:
    """Return the annotations in the body of a class; unknown names raise no error.

    Python 3.14 evaluates them at the first access, and does not keep them in `vars(cls)`.
    """
    if sys.version_info >= (3, 14):
        import annotationlib  # noqa: PLC0415 - earlier Pythons have no such module

        return annotationlib.get_annotations(cls, format=annotationlib.Format.FORWARDREF)
    found = vars(cls).get("__annotations__")
    return found if isinstance(found, dict) else {}  # Of `type` itself, it is a descriptor.


def codec_classes(hints: Iterable[Any]) -> list[type]:
    """Return the classes that annotations name, at any depth, and that a codec can encode.

    Enums, dataclasses, named tuples, attrs classes and pydantic models: in unions, containers,
    `Annotated`, aliases and generics, and in the fields of each other.
    """
    found: dict[type, None] = {}
    seen: set[Any] = set()
    todo = list(hints)
    schemas = [get_origin(hint) or hint for hint in todo]
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
        elif is_typed_dict(hint) or any(hint is schema for schema in schemas):
            todo.extend(_field_types(hint))
    return list(found)


def _named_in(hint: Any) -> Iterator[Any]:
    """Yield the parts of an annotation."""
    yield from get_args(hint)
    origin = get_origin(hint)
    if isinstance(origin, type):
        yield origin  # `Pair[int]` is made of `int` and of the dataclass `Pair`.
    elif hasattr(origin, "__value__"):
        yield origin  # An alias with arguments.
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
    """Yield those annotations of a class that can be resolved."""
    fields = getattr(cls, "model_fields", None)
    if isinstance(fields, Mapping):  # pydantic resolved them, also those of a generic.
        yield from (info.annotation for info in fields.values())
        yield from (getattr(cls, "__private_attributes__", None) and _private_types(cls)) or ()
        return
    try:
        yield from field_hints(cls).values()
    except InvalidGraphError:  # A name that only a type checker sees; the other fields have theirs.
        for base in cls.__mro__:
            for name, hint in _own_annotations(base).items():
                yield from _resolved(name, hint, base)


def _private_types(cls: type) -> list[Any]:
    return [
        found
        for base in cls.__mro__
        for name, hint in _own_annotations(base).items()
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
