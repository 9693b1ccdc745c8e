"""Enums, dataclasses, named tuples, classes of text and pydantic models as plain data and back.

Rule 1: a value is taken apart and put together by its attributes. Its `__init__`, `__post_init__`,
        validators and `__setattr__` do not run: they could change or refuse what was stored.
Rule 2: everything an instance holds is kept, also what is no field. Left out is only what is worked
        out again when asked for: a `cached_property`.
Rule 3: a field that a class got later, with a default, gets it when an older value is loaded; a
        field that was absent stays absent.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import types
from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.serde.forms import Form, only

__all__ = ["adds_nothing_to_str", "class_form", "has_class_form", "tag_of"]

_Parts = list[tuple[str, Any]]


def has_class_form(cls: type) -> bool:
    """Return whether instances of `cls` can be taken apart by themselves."""
    return _form_maker(cls) is not None


def class_form(cls: type, tag: str) -> Form:
    """Return the form of an enum, dataclass, named tuple, class of text or pydantic model.

    Raises:
        TypeError: if `cls` is none of these.
    """
    make = _form_maker(cls)
    if make is None:
        msg = (
            f"{cls.__module__}.{cls.__qualname__} is no enum, dataclass or pydantic model, nor a "
            f"named tuple or a class of text: register it with its own functions, "
            f"register_type(cls, tag, encode=..., decode=...)"
        )
        raise TypeError(msg)
    return make(cls, tag)


def tag_of(cls: type) -> str:
    """Return the tag of a class that was given none: where it is defined."""
    generic = getattr(cls, "__pydantic_generic_metadata__", None) or {}
    if generic.get("origin"):  # `Box[Item]` says which `Item` only in its arguments.
        inner = ", ".join(map(_argument, generic["args"]))
        return f"{tag_of(generic['origin'])}[{inner}]"
    return f"{cls.__module__}.{cls.__qualname__}"


def _argument(argument: Any) -> str:
    if not isinstance(argument, type) or isinstance(argument, types.GenericAlias):
        return repr(argument)
    return argument.__qualname__ if argument.__module__ == "builtins" else tag_of(argument)


def _form_maker(cls: type) -> Callable[[type, str], Form] | None:
    if issubclass(cls, enum.Enum):
        return _flag_form if issubclass(cls, enum.Flag) else _enum_form
    if issubclass(cls, str):
        return None if cls is str or _slots(cls) else _text_form
    if issubclass(cls, tuple):
        return _tuple_form if isinstance(getattr(cls, "_fields", None), tuple) else None
    if any(base.__module__ == "builtins" and base is not object for base in cls.__mro__):
        return None  # A list or an exception holds more than its attributes.
    if dataclasses.is_dataclass(cls):
        return _dataclass_form
    return _model_form if isinstance(getattr(cls, "model_fields", None), Mapping) else None


# ---- enums and named tuples -----------------------------------------------------------------


def _enum_form(cls: type, tag: str) -> Form:
    members: Mapping[str, Any] = cls.__members__  # type: ignore[attr-defined]
    # By name: a value may be of any type, and equal to another one's. Several flags have no name.
    return Form(tag, cls, lambda member: member._name_, lambda plain: members[plain])


def _flag_form(cls: type, tag: str) -> Form:
    return Form(tag, cls, lambda flags: flags._value_, cls)


def _tuple_form(cls: Any, tag: str) -> Form:
    names: tuple[str, ...] = cls._fields
    defaults: Mapping[str, Any] = cls._field_defaults

    def to_plain(value: Any) -> Any:
        more = getattr(value, "__dict__", None)  # Of a subclass of a named tuple.
        return {"items": list(value), "more": more} if more else list(value)

    def from_plain(plain: Any) -> Any:
        more: dict[str, Any] = {}
        if type(plain) is dict:
            plain, more = plain["items"], plain["more"]
        items = only(list, plain) + [defaults[name] for name in names[len(plain) :]]
        if len(items) != len(names):
            msg = f"{len(items)} items are stored, and {cls.__qualname__} has {len(names)} fields"
            raise ValueError(msg)
        value = tuple.__new__(cls, items)
        if more:
            value.__dict__.update(more)
        return value

    def parts(value: Any) -> _Parts:
        return [(f".{name}", item) for name, item in zip(names, value, strict=True)]

    return Form(tag, cls, to_plain, from_plain, parts)


# ---- texts ----------------------------------------------------------------------------------


def adds_nothing_to_str(cls: type) -> bool:
    """Return whether a class is a `str` of another name: the text it equals does all it does."""
    return issubclass(cls, str) and all(
        base in (str, object) or (_HOUSEKEEPING.issuperset(vars(base)) and not _slots(base))
        for base in cls.__mro__
    )


_HOUSEKEEPING = frozenset(
    (
        *("__module__", "__qualname__", "__doc__", "__dict__", "__weakref__", "__slots__"),
        *("__annotations__", "__new__", "__init__", "__orig_bases__", "__parameters__"),
        *("__static_attributes__", "__firstlineno__"),
    )
)


def _text_form(cls: Any, tag: str) -> Form:
    hidden = _hidden(cls)

    def held(value: Any) -> dict[str, Any]:
        return _visible(getattr(value, "__dict__", {}), hidden)

    def to_plain(value: Any) -> Any:
        text, more = str.__str__(value), held(value)
        return {"text": text, "more": more} if more else text

    def from_plain(plain: Any) -> Any:
        more: dict[str, Any] = {}
        if type(plain) is dict:
            plain, more = plain["text"], only(dict, plain["more"])
        value = str.__new__(cls, only(str, plain))
        if more:
            value.__dict__.update(more)
        return value

    return Form(tag, cls, to_plain, from_plain, lambda value: _attributes(held(value)))


# ---- dataclasses ----------------------------------------------------------------------------


def _dataclass_form(cls: type, tag: str) -> Form:
    slots = _slots(cls)
    holds_dict = bool(cls.__dictoffset__)
    defaults = {
        f.name: _default_of(f)
        for f in dataclasses.fields(cls)
        if f.default is not dataclasses.MISSING or f.default_factory is not dataclasses.MISSING
    }
    hidden = _hidden(cls)

    def state_of(value: Any) -> dict[str, Any]:
        state = _visible(value.__dict__, hidden) if holds_dict else {}
        if not slots:
            return state
        state = dict(state)
        for name, slot in slots.items():
            try:
                state[name] = slot.__get__(value)
            except AttributeError:
                continue  # Never set, or deleted.
        return state

    def to_plain(value: Any) -> Any:
        state = state_of(value)
        return state if defaults.keys() <= state.keys() else [state, _absent(state, defaults)]

    def from_plain(plain: Any) -> Any:
        state, absent = plain if type(plain) is list else (plain, ())
        state = _completed(only(dict, state), defaults, absent)
        value: Any = object.__new__(cls)
        if not slots:
            value.__dict__.update(state)
            return value
        for name, item in state.items():
            if name in slots:
                slots[name].__set__(value, item)
            elif holds_dict:
                value.__dict__[name] = item
            else:
                msg = f"{cls.__qualname__} has no field {name!r} (any more)"
                raise AttributeError(msg)
        return value

    return Form(tag, cls, to_plain, from_plain, lambda value: _attributes(state_of(value)))


def _slots(cls: type) -> dict[str, types.MemberDescriptorType]:
    return {
        name: slot
        for base in reversed(cls.__mro__)
        for name, slot in vars(base).items()
        if isinstance(slot, types.MemberDescriptorType)
    }


def _default_of(field: dataclasses.Field[Any]) -> Callable[[], Any]:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory
    default = field.default
    return lambda: default


# ---- pydantic models ------------------------------------------------------------------------


def _model_form(cls: Any, tag: str) -> Form:
    # A root model keeps its private attributes in `__dict__`, where the others have slots for them.
    is_root = bool(getattr(cls, "__pydantic_root_model__", False))
    defaults = {
        name: functools.partial(_model_default, info)
        for name, info in cls.model_fields.items()
        if not info.is_required()
    }
    hidden = _hidden(cls)

    def to_plain(value: Any) -> list[Any]:
        state = _visible(value.__dict__, hidden)
        plain = [state, sorted(value.__pydantic_fields_set__), None, None]
        if not is_root:
            plain[2:] = value.__pydantic_extra__, value.__pydantic_private__
        return plain if defaults.keys() <= state.keys() else [*plain, _absent(state, defaults)]

    def from_plain(plain: Any) -> Any:
        state, fields_set, extra, private, *absent = plain
        value = object.__new__(cls)
        state = _completed(only(dict, state), defaults, absent[0] if absent else ())
        object.__setattr__(value, "__dict__", state)
        object.__setattr__(value, "__pydantic_fields_set__", set(only(list, fields_set)))
        if not is_root:
            object.__setattr__(value, "__pydantic_extra__", extra)
            object.__setattr__(value, "__pydantic_private__", private)
        return value

    def parts(value: Any) -> _Parts:
        held = [_visible(value.__dict__, hidden)]
        if not is_root:
            held += [value.__pydantic_extra__ or {}, value.__pydantic_private__ or {}]
        return [part for each in held for part in _attributes(each)]

    return Form(tag, cls, to_plain, from_plain, parts)


def _model_default(info: Any) -> Any:
    if getattr(info, "default_factory_takes_validated_data", None):
        return info.get_default(call_default_factory=True, validated_data={})
    return info.get_default(call_default_factory=True)


# ---- attributes -----------------------------------------------------------------------------


def _hidden(cls: type) -> frozenset[str]:
    cached = {
        name
        for base in cls.__mro__
        for name, item in vars(base).items()
        if isinstance(item, functools.cached_property)
    }
    # What `typing` notes on an instance made by `Pair[int](...)`: no part of its value.
    return frozenset(cached | {"__orig_class__"})


def _visible(state: dict[str, Any], hidden: frozenset[str]) -> dict[str, Any]:
    if hidden.isdisjoint(state):
        return state
    return {name: item for name, item in state.items() if name not in hidden}


_Defaults = Mapping[str, Callable[[], Any]]


def _absent(state: Mapping[str, Any], defaults: _Defaults) -> list[str]:
    return sorted(defaults.keys() - state.keys())


def _completed(state: dict[str, Any], defaults: _Defaults, absent: Any) -> dict[str, Any]:
    if not defaults.keys() <= state.keys():
        for name in defaults.keys() - state.keys() - set(absent):
            state[name] = defaults[name]()
    return state


def _attributes(state: Mapping[str, Any]) -> _Parts:
    return [(f".{name}", item) for name, item in state.items()]
