"""The stored form of a type, and the forms of enums, dataclasses, texts and pydantic models.

Rule 1: a value is taken apart and put together by its attributes. Its `__init__`, `__post_init__`,
        validators and `__setattr__` do not run: they could change or refuse what was stored.
Rule 2: every attribute of an instance is stored, also those that are no fields. Only the values of
        a `cached_property`, which are computed again, are left out.
Rule 3: parts are stored by name, never by place or number, so that a class may change. A part that
        a class got later, with a default, gets it when an older value is loaded; a required one is
        an error that names it; one that was absent stays absent.
Rule 4: a value is stored only if it can be found again. An enum's `_missing_` is the one function
        of the class that may be called for that, at storing and at loading.
"""

from __future__ import annotations

import copy
import dataclasses
import enum
import functools
import types
from collections.abc import Callable, Container, Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

Plain = Callable[[Any], Any]  # From a value to its plain form, or from the plain form back.
_Parts = list[tuple[str, Any]]
_Defaults = Mapping[str, Callable[[dict[str, Any]], Any]]  # From the attributes of an instance.
_UNDEFINED = "PydanticUndefinedType"
_PRIVATE = "__pydantic_private__"
_ATTRS_HASH = "_attrs_cached_hash"


@dataclasses.dataclass(frozen=True, slots=True)
class Form:
    """How values of one type are stored.

    Attributes:
        tag: the name of the type in stored bytes; it never changes, unlike the class's module.
        cls: the type, exactly: an instance of a subclass has another form or none.
        to_plain: returns data of which every part can be stored.
        from_plain: makes the value again; it may raise any exception for damaged data.
        parts: the paths inside a value with their items, for error messages.
    """

    tag: str
    cls: type
    to_plain: Plain
    from_plain: Plain
    parts: Callable[[Any], list[tuple[str, Any]]] | None = None


def only(kind: type, plain: Any) -> Any:
    """Return `plain`; damaged data may hold another type, which could cost any time or memory.

    Raises:
        TypeError: if it is not of exactly this type.
    """
    if type(plain) is not kind:
        msg = f"expected a stored {kind.__name__}, found a {type(plain).__name__}"
        raise TypeError(msg)
    return plain


def has_class_form(cls: type) -> bool:
    """Return whether instances of `cls` can be taken apart by themselves."""
    return _form_maker(cls) is not None


def class_form(cls: type, tag: str) -> Form:
    """Return the form of an enum, dataclass, named tuple, attrs class, text or pydantic model.

    Raises:
        TypeError: if `cls` is none of these.
    """
    make = _form_maker(cls)
    if make is None:
        msg = (
            f"{cls.__module__}.{cls.__qualname__} is no enum, dataclass or pydantic model, nor a "
            f"named tuple, attrs class or class of text: register it with its own functions, "
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
    if dataclasses.is_dataclass(cls) or hasattr(cls, "__attrs_attrs__"):
        return _dataclass_form
    return _model_form if isinstance(getattr(cls, "model_fields", None), Mapping) else None


# ---- enums and named tuples -----------------------------------------------------------------


def _enum_form(cls: Any, tag: str) -> Form:
    members: Mapping[str, Any] = cls.__members__

    def to_plain(member: Any) -> Any:
        # By name: a value may be of any type, and equal to another one's.
        name, value = member._name_, member._value_
        if isinstance(name, str) and members.get(name) is member:
            return name
        found = _by_value(cls, value)
        if found is None or (found._name_, found._value_) != (name, value):
            msg = (
                f"{member!r:.80} is no member of {cls.__qualname__} that can be found again: give "
                f"it a name in the class, or let {cls.__qualname__}({value!r:.80}) return it"
            )
            raise TypeError(msg)
        return [value]  # What `_missing_` made.

    def from_plain(plain: Any) -> Any:
        if type(plain) is list:
            (value,) = plain
            found = _by_value(cls, value)
            if found is None or found._value_ != value:
                raise ValueError(f"{cls.__qualname__} has no member for {value!r:.80} (any more)")
            return found
        if plain not in members:
            raise ValueError(f"{cls.__qualname__} has no member {plain!r:.80} (any more)")
        return members[plain]

    return Form(tag, cls, to_plain, from_plain)


def _by_value(cls: Any, value: Any) -> Any:
    """Return the member for a value, or `None` if the class has none or raises."""
    try:
        found = cls(value)
    except Exception:  # noqa: BLE001 - `_missing_` is user code, and refuses by raising
        return None
    return found if type(found) is cls else None


def _flag_form(cls: Any, tag: str) -> Form:
    members: Mapping[str, Any] = cls.__members__
    # Single flags first, so that most values are a list of them.
    parts = sorted(members.items(), key=lambda item: item[1]._value_.bit_count())

    def to_plain(flags: Any) -> Any:
        left: int = flags._value_
        if left < 0:
            return left
        names: list[Any] = []
        for name, member in parts:
            bits = member._value_
            if bits > 0 and bits & left and not bits & ~flags._value_:
                names.append(name)
                left &= ~bits
        return [*names, left] if left else names  # With the bits that have no name.

    def from_plain(plain: Any) -> Any:
        value = plain if type(plain) is int else 0  # As it was stored before names were.
        for part in plain if type(plain) is list else ():
            if type(part) is not int and part not in members:
                raise ValueError(f"{cls.__qualname__} has no flag {part!r:.80} (any more)")
            value |= part if type(part) is int else members[part]._value_
        if type(plain) not in {int, list}:
            only(list, plain)
        found = cls(value)
        if type(found) is not cls or (value >= 0 and found._value_ != value):
            raise ValueError(f"{cls.__qualname__} does not have the flags {value:#x} (any more)")
        return found

    return Form(tag, cls, to_plain, from_plain)


def _tuple_form(cls: Any, tag: str) -> Form:
    names: tuple[str, ...] = cls._fields
    defaults: Mapping[str, Any] = cls._field_defaults

    def to_plain(value: Any) -> Any:
        more = getattr(value, "__dict__", None)  # Of a subclass of a named tuple.
        return {"names": list(names), "items": list(value), "more": more or None}

    def from_plain(plain: Any) -> Any:
        plain = plain if type(plain) is dict else {"items": plain}
        items = only(list, plain["items"])
        stored = plain.get("names") or names[: len(items)]  # Once only the places were stored.
        if len(stored) != len(items):
            msg = f"{len(items)} items are stored, and {cls.__qualname__} has {len(names)} fields"
            raise ValueError(msg)
        if tuple(stored) == names:
            return _tuple_of(cls, items, plain)
        found = dict(zip(stored, items, strict=True))
        gone = [name for name in stored if name not in names]
        if gone:
            raise ValueError(f"{cls.__qualname__} has no field {gone[0]!r} (any more)")
        _check_required(cls, [name for name in names if name not in defaults], found, ())
        return _tuple_of(cls, [found.get(name, defaults.get(name)) for name in names], plain)

    def parts(value: Any) -> _Parts:
        return [(f".{name}", item) for name, item in zip(names, value, strict=True)]

    return Form(tag, cls, to_plain, from_plain, parts)


def _tuple_of(cls: Any, items: list[Any], plain: Mapping[str, Any]) -> Any:
    value = tuple.__new__(cls, items)
    if plain.get("more"):
        value.__dict__.update(plain["more"])
    return value


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
        *("__static_attributes__", "__firstlineno__"),  # Since Python 3.13; the next since 3.14:
        *("__annotate_func__", "__annotations_cache__", "__conditional_annotations__"),
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
    is_attrs = hasattr(cls, "__attrs_attrs__")
    defaults, required = _attrs_fields(cls) if is_attrs else _dataclass_fields(cls)
    fields = defaults.keys() | required
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

    def stable_of(value: Any) -> dict[str, Any]:
        state = state_of(value)
        # The hash that attrs notes is another one in each process.
        return {**state, _ATTRS_HASH: None} if _ATTRS_HASH in state else state

    def to_plain(value: Any) -> Any:
        state = stable_of(value) if is_attrs else state_of(value)
        return state if fields <= state.keys() else [state, _absent(state, fields)]

    def from_plain(plain: Any) -> Any:
        state, absent = plain if type(plain) is list else (plain, ())
        state = _completed(only(dict, state), defaults, absent)
        _check_required(cls, required, state, absent)
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


def _dataclass_fields(cls: Any) -> tuple[_Defaults, list[str]]:
    """Return the fields of a dataclass that have a default, and those that must be given one."""
    defaults, required = {}, []
    for field in dataclasses.fields(cls):
        if dataclasses.MISSING is not field.default or (
            field.default_factory is not dataclasses.MISSING
        ):
            defaults[field.name] = _default_of(field)
        elif field.init:  # Others are set by `__post_init__`, or never.
            required.append(field.name)
    return defaults, required


def _attrs_fields(cls: Any) -> tuple[_Defaults, list[str]]:
    """Return the same of an attrs class."""
    defaults: dict[str, Callable[[dict[str, Any]], Any]] = {}
    required = []
    for field in cls.__attrs_attrs__:
        if repr(field.default) != "NOTHING":
            defaults[field.name] = functools.partial(_attrs_default, field.default)
        elif field.init:
            required.append(field.name)
    return defaults, required


def _attrs_default(default: Any, state: dict[str, Any]) -> Any:
    factory = getattr(default, "factory", None)
    if factory is None:
        return copy.deepcopy(default)
    return factory(types.SimpleNamespace(**state)) if default.takes_self else factory()


def _default_of(field: dataclasses.Field[Any]) -> Callable[[dict[str, Any]], Any]:
    factory, default = field.default_factory, field.default
    if factory is not dataclasses.MISSING:
        return lambda _: factory()
    return lambda _: default


# ---- pydantic models ------------------------------------------------------------------------


def _model_form(cls: Any, tag: str) -> Form:
    # A root model keeps its private attributes in `__dict__`, where the others have slots for them.
    is_root = bool(getattr(cls, "__pydantic_root_model__", False))
    defaults = {
        name: functools.partial(_model_default, info)
        for name, info in cls.model_fields.items()
        if not info.is_required()
    }
    required = [name for name, info in cls.model_fields.items() if info.is_required()]
    privates = {
        name: functools.partial(_private_default, info)
        for name, info in cls.__private_attributes__.items()
        if info.default_factory is not None or type(info.default).__name__ != _UNDEFINED
    }
    fields = cls.model_fields.keys() | privates.keys()
    allows_extra = cls.model_config.get("extra") == "allow"
    hidden = _hidden(cls)

    def to_plain(value: Any) -> list[Any]:
        state = _visible(value.__dict__, hidden)
        plain: list[Any] = [state, sorted(value.__pydantic_fields_set__), None, None]
        if not is_root:
            plain[2:] = value.__pydantic_extra__, value.__pydantic_private__
        absent = fields - state.keys()
        if absent:
            absent -= (plain[3] or state.get(_PRIVATE) or {}).keys()
        return [*plain, sorted(absent)] if absent else plain

    def from_plain(plain: Any) -> Any:
        state, fields_set, extra, private, *noted = plain
        absent = noted[0] if noted else ()
        value = object.__new__(cls)
        state = _completed(only(dict, state), defaults, absent)
        _check_required(cls, required, state, absent)
        if is_root and privates:
            state[_PRIVATE] = _completed(state.get(_PRIVATE) or {}, privates, absent, state)
        object.__setattr__(value, "__dict__", state)
        object.__setattr__(value, "__pydantic_fields_set__", set(only(list, fields_set)))
        if not is_root:
            if privates:
                private = {} if private is None else private
                private = _completed(private, privates, absent, state)
            if allows_extra:
                extra = {} if extra is None else extra
            object.__setattr__(value, "__pydantic_extra__", extra)
            object.__setattr__(value, _PRIVATE, private)
        return value

    def parts(value: Any) -> _Parts:
        held = [_visible(value.__dict__, hidden)]
        if not is_root:
            held += [value.__pydantic_extra__ or {}, value.__pydantic_private__ or {}]
        return [part for each in held for part in _attributes(each)]

    return Form(tag, cls, to_plain, from_plain, parts)


def _model_default(info: Any, state: dict[str, Any]) -> Any:
    if getattr(info, "default_factory_takes_validated_data", None):
        return info.get_default(call_default_factory=True, validated_data=dict(state))
    return info.get_default(call_default_factory=True)


def _private_default(info: Any, state: dict[str, Any]) -> Any:
    if info.default_factory is None:
        return copy.deepcopy(info.default)
    if getattr(info, "default_factory_takes_validated_data", None):
        return info.default_factory(dict(state))
    return info.default_factory()


# ---- attributes -----------------------------------------------------------------------------


def _hidden(cls: type) -> frozenset[str]:
    cached = {
        name
        for base in cls.__mro__
        for name, item in vars(base).items()
        if isinstance(item, functools.cached_property)
    }
    # `typing` sets it on an instance made by `Pair[int](...)`: no part of its value.
    return frozenset(cached | {"__orig_class__"})


def _visible(state: dict[str, Any], hidden: frozenset[str]) -> dict[str, Any]:
    if hidden.isdisjoint(state):
        return state
    return {name: item for name, item in state.items() if name not in hidden}


def _absent(state: Mapping[str, Any], fields: AbstractSet[str]) -> list[str]:
    return sorted(fields - state.keys())


def _check_required(
    cls: type, required: Iterable[str], state: Container[str], absent: Container[str]
) -> None:
    """Refuse a value that lacks what the class must have, unless it lacked it when it was stored.

    Raises:
        ValueError: with the first field that is missing.
    """
    for name in required:
        if name not in state and name not in absent:
            msg = (
                f"{cls.__qualname__} must have the field {name!r}, and the stored value does not "
                f"have it: give the field a default for values that are stored"
            )
            raise ValueError(msg)


def _completed(
    held: dict[str, Any],
    defaults: _Defaults,
    absent: Container[str],
    state: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Add the defaults of fields that the class got since, in the order of the class."""
    if not defaults.keys() <= held.keys():
        for name, default in defaults.items():
            if name not in held and name not in absent:
                held[name] = default(held if state is None else state)
    return held


def _attributes(state: Mapping[str, Any]) -> _Parts:
    return [(f".{name}", item) for name, item in state.items()]
