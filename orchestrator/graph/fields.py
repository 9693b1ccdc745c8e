"""The fields of a state's type: annotations, defaults, and instances made of values.

Knows TypedDicts, dataclasses, pydantic models, named tuples, attrs and plain annotated classes, and
imports none of their libraries; knows nothing of channels.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import sys
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, TypeVar, Union, get_args, get_origin

from orchestrator.errors import InvalidGraphError

Maker = Callable[[dict[str, Any]], Any]  # From values by field name to an instance.

# By name, because typing_extensions has its own of those that this Python lacks.
_QUALIFIERS = frozenset({"Required", "NotRequired", "ReadOnly", "Final"})
_UNCHANGING = (type(None), bool, int, float, complex, str, bytes, frozenset)


@dataclass(frozen=True, slots=True)
class Field:
    """One field: its annotation with qualifiers and generics resolved, and its declared default."""

    hint: Any
    default: Callable[[], Any] | None = None


# ---- annotations ------------------------------------------------------------------------------


def annotation_of(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return the type that an annotation names, and its `Annotated` metadata, inner first.

    Qualifiers (`Required`, `NotRequired`, `ReadOnly`, `InitVar`) and aliases, also generic ones,
    are unwrapped. The metadata of a member of a union counts for the union.
    """
    extras: tuple[Any, ...] = ()
    while True:
        origin = get_origin(hint)
        if origin is Annotated:
            hint, *added = get_args(hint)
            extras = (*added, *extras)
        elif getattr(origin, "_name", None) in _QUALIFIERS:
            hint = get_args(hint)[0]
        elif isinstance(hint, dataclasses.InitVar):
            hint = hint.type
        elif _is_alias(hint) or _is_alias(origin):
            hint = _aliased(hint)
        elif origin in {Union, types.UnionType}:
            members = [annotation_of(member) for member in get_args(hint)]
            inner = [extra for _, added in members for extra in added]
            if not inner:
                return hint, extras
            return Union[tuple(typ for typ, _ in members)], (*inner, *extras)  # noqa: UP007 - of a tuple
        else:
            inner_typ, inner_extras = _supertype(hint)
            return inner_typ, (*inner_extras, *extras)


def _supertype(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return the annotation of a `NewType` of an annotated type; any other type unchanged."""
    inner = getattr(hint, "__supertype__", None)
    typ, extras = annotation_of(inner) if inner is not None else (hint, ())
    return (typ, extras) if extras else (hint, ())


def _is_alias(hint: Any) -> bool:
    return type(hint).__name__ == "TypeAliasType"  # Of `typing` or of typing_extensions.


def _aliased(hint: Any) -> Any:
    """Return the value of an alias, with the arguments that it is given."""
    alias = hint if _is_alias(hint) else get_origin(hint)
    try:
        value = alias.__value__
        if isinstance(value, str):
            space = vars(sys.modules[alias.__module__])
            named = types.SimpleNamespace(__annotations__={"value": value})
            value = typing.get_type_hints(named, space, include_extras=True)["value"]
    except NameError as error:
        msg = f"the alias {alias.__name__} cannot be resolved: {error}"
        raise InvalidGraphError(msg) from error
    return _bound(value, dict(zip(alias.__type_params__, get_args(hint), strict=False)))


def _bound(hint: Any, binding: Mapping[Any, Any]) -> Any:
    """Return an annotation with type variables replaced."""
    if isinstance(hint, TypeVar):
        return binding.get(hint, hint)
    if isinstance(hint, dataclasses.InitVar):
        return dataclasses.InitVar(_bound(hint.type, binding))
    parameters = _parameters(hint)
    if not binding or not parameters or (isinstance(hint, type) and get_origin(hint) is None):
        return hint
    try:
        return hint[tuple(binding.get(each, each) for each in parameters)]
    except TypeError:
        return hint  # It does not accept the argument; its origin is still known.


def _parameters(hint: Any) -> tuple[Any, ...]:
    found = getattr(hint, "__parameters__", ())
    return found if isinstance(found, tuple) else ()  # Of a class, it may be a descriptor.


# ---- fields -----------------------------------------------------------------------------------


def field_hints(schema: Any) -> dict[str, Any]:
    """Return the fields of a state type with their annotations, `Annotated` kept.

    Raises:
        InvalidGraphError: if an annotation names something that cannot be resolved.
    """
    return {name: field.hint for name, field in fields_of(schema).items()}


def fields_of(schema: Any) -> dict[str, Field]:
    """Return the fields of a type, in order; an empty dict for a type without fields.

    Raises:
        InvalidGraphError: if an annotation names something that cannot be resolved.
    """
    cls = get_origin(schema) or schema
    if not isinstance(cls, type):
        return {}
    models = _models(cls)
    if models is not None and not dataclasses.is_dataclass(cls):
        return {n: Field(_model_hint(i), _model_default(i)) for n, i in models.items()}
    hints = _hints(cls, get_args(schema))
    if dataclasses.is_dataclass(cls):
        hints = {name: hints[name] for name in _initial(cls) if name in hints}
    return {
        name: Field(hint, _default(cls, name, hint))
        for name, hint in hints.items()
        if get_origin(hint) is not ClassVar and hint is not ClassVar
    }


def is_typed_dict(cls: Any) -> bool:
    """Return whether a class is a TypedDict, of `typing` or of typing_extensions."""
    return isinstance(cls, type) and issubclass(cls, dict) and hasattr(cls, "__total__")


def _models(cls: type) -> Mapping[str, Any] | None:
    """Return pydantic's fields of a model or of one of its dataclasses."""
    name = "__pydantic_fields__" if dataclasses.is_dataclass(cls) else "model_fields"
    found = getattr(cls, name, None)
    if not isinstance(found, Mapping):
        return None
    if not getattr(cls, "__pydantic_complete__", True) and hasattr(cls, "model_rebuild"):
        try:
            cls.model_rebuild()  # The names in it may be defined by now.
        except NameError as error:
            msg = f"the annotations of {cls.__qualname__} cannot be resolved: {error}"
            raise InvalidGraphError(msg) from error
        return typing.cast("Mapping[str, Any]", getattr(cls, name))
    return found


def _model_hint(info: Any) -> Any:
    return Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation


def _initial(cls: Any) -> list[str]:
    """Return the names of a dataclass's fields, and of its `InitVar`s."""
    known = {field.name for field in dataclasses.fields(cls)}
    return [
        name
        for name, field in cls.__dataclass_fields__.items()
        if name in known or field._field_type is dataclasses._FIELD_INITVAR  # type: ignore[attr-defined] # noqa: SLF001
    ]


def _hints(cls: type, args: tuple[Any, ...]) -> dict[str, Any]:
    """Return the annotations of a class and its bases, with the arguments of generics in place."""
    try:
        hints = typing.get_type_hints(cls, include_extras=True)
    except TypeError:
        return {}
    except NameError as error:
        msg = f"the annotations of {cls.__qualname__} cannot be resolved: {error}"
        raise InvalidGraphError(msg) from error
    binding = dict(zip(_parameters(cls), args, strict=False))
    inherited: dict[str, Any] = {}
    before: dict[str, Any] = {}
    for base in vars(cls).get("__orig_bases__", cls.__bases__):
        origin = get_origin(base) or base
        if origin in {typing.Generic, typing.Protocol, object} or not isinstance(origin, type):
            continue
        inherited.update(_hints(origin, tuple(_bound(arg, binding) for arg in get_args(base))))
        before.update(inspect.get_annotations(origin))
    own = inspect.get_annotations(cls)
    is_dict = is_typed_dict(cls)  # Its annotations are those of its bases, too.
    for name in inherited.keys() & hints.keys():
        if name not in own or (is_dict and own[name] is before.get(name)):
            hints[name] = inherited[name]
    return {name: _bound(hint, binding) for name, hint in hints.items()}


# ---- defaults ---------------------------------------------------------------------------------


def _default(cls: Any, name: str, hint: Any) -> Callable[[], Any] | None:
    """Return a function that makes the declared default of a field; `None`: it has none."""
    models = _models(cls)
    if models is not None and name in models:
        return _model_default(models[name])
    for extra in reversed(annotation_of(hint)[1]):
        if hasattr(extra, "get_default") and hasattr(extra, "is_required"):  # pydantic's `Field`
            return _model_default(extra)
    if dataclasses.is_dataclass(cls):
        field = cls.__dataclass_fields__[name]
        if field.default_factory is not dataclasses.MISSING:
            return field.default_factory
        return None if field.default is dataclasses.MISSING else _copies(field.default)
    for attribute in getattr(cls, "__attrs_attrs__", ()):
        if attribute.name == name:
            return _attrs_default(attribute.default)
    if issubclass(cls, dict):
        return None
    defaults = getattr(cls, "_field_defaults", None)  # Of a named tuple.
    held = inspect.getattr_static(cls, name, inspect.Parameter.empty)
    if isinstance(defaults, Mapping):
        held = defaults.get(name, inspect.Parameter.empty)
    if held is inspect.Parameter.empty or hasattr(held, "__get__"):
        return None
    return _copies(held)


def _attrs_default(default: Any) -> Callable[[], Any] | None:
    attr = sys.modules["attr"]  # It is there: the class was made with it.
    if default is attr.NOTHING:
        return None
    if not isinstance(default, attr.Factory):
        return _copies(default)
    return None if default.takes_self else typing.cast("Callable[[], Any]", default.factory)


def _model_default(info: Any) -> Callable[[], Any] | None:
    if info.is_required():
        return None
    if getattr(info, "default_factory_takes_validated_data", None):
        return None  # It depends on the other fields: only an instance can have it.
    return lambda: info.get_default(call_default_factory=True)


def _copies(default: Any) -> Callable[[], Any] | None:
    if default is ...:  # As LangGraph, `field(default=...)` says that there is none.
        return None
    if isinstance(default, _UNCHANGING):
        return lambda: default
    return lambda: copy.deepcopy(default)


# ---- instances --------------------------------------------------------------------------------


def maker_of(schema: Any) -> Maker | None:
    """Return a function from values by field name to an instance; `None`: a dict is enough.

    As LangGraph, nodes get instances of dataclasses and pydantic models, and dicts of all others.
    Fields that `__init__` does not take are set after it.

    Raises:
        InvalidGraphError: if a field of a model has no own name in the model's input.
    """
    cls: Any = get_origin(schema) or schema
    models = _models(cls) if isinstance(cls, type) else None
    if models is None and not dataclasses.is_dataclass(cls):
        return None
    names = _aliases(cls, models) if models else {}
    late: frozenset[str] = frozenset()
    if dataclasses.is_dataclass(cls):
        bare = _init_of(cls) is object.__init__  # `@dataclass(init=False)`
        late = frozenset(f.name for f in dataclasses.fields(cls) if bare or not f.init)
    if not names and not late:
        return lambda values: schema(**values)

    def make(values: dict[str, Any]) -> Any:
        made = schema(**{names.get(n, n): item for n, item in values.items() if n not in late})
        for name in late & values.keys():
            object.__setattr__(made, name, values[name])
        return made

    return make


def _init_of(cls: Any) -> Any:
    return cls.__init__


def _aliases(cls: Any, models: Mapping[str, Any]) -> dict[str, str]:
    config = getattr(cls, "model_config", None) or getattr(cls, "__pydantic_config__", None) or {}
    if config.get("validate_by_alias") is False:
        return {}
    by_name = config.get("populate_by_name") or config.get("validate_by_name")
    found: dict[str, str] = {}
    for name, info in models.items():
        alias = info.alias if info.validation_alias is None else info.validation_alias
        choices = (alias,) if isinstance(alias, str) else getattr(alias, "choices", ())
        text = next((choice for choice in choices if isinstance(choice, str)), None)
        if text is not None:
            found[name] = text
        elif alias is not None and not by_name:
            msg = (
                f"the field {name!r} of {cls.__qualname__} must have a name by which the model "
                f"can be built ({alias!r}): set populate_by_name=True in its config"
            )
            raise InvalidGraphError(msg)
    return found
