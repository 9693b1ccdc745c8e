"""The types that a program makes storable, for the whole process.

The state's schema names most types, and compiling a graph makes them known. This is for the others,
and for a tag that stays when a class moves.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar, overload

from orchestrator import limits
from orchestrator.serde.builtin_types import STANDARD
from orchestrator.serde.classes import Form, Plain, class_form
from orchestrator.serde.classes import tag_of as default_tag
from orchestrator.serde.third_party import is_third_party_tag

NATIVE = frozenset({type(None), bool, int, float, str, bytes, list, dict})  # As msgpack has them.

_C = TypeVar("_C", bound=type)

_by_type: dict[type, Form] = {}
_by_tag: dict[str, Form] = {}
_lock = threading.Lock()  # Registering reads both before it changes both.

_STANDARD_TYPES = NATIVE | {form.cls for form in STANDARD}
_STANDARD_TAGS = frozenset(form.tag for form in STANDARD)


@overload
def register_type(
    cls: _C, tag: str | None = None, *, encode: Plain | None = None, decode: Plain | None = None
) -> _C: ...


@overload
def register_type(
    cls: str | None = None,
    tag: str | None = None,
    *,
    encode: Plain | None = None,
    decode: Plain | None = None,
) -> Callable[[_C], _C]: ...


def register_type(
    cls: Any = None,
    tag: str | None = None,
    *,
    encode: Plain | None = None,
    decode: Plain | None = None,
) -> Any:
    """Let values of a type be stored, in every graph, store and client of this process.

    Call it where the class is defined, so that every process that loads the class knows it. As a
    decorator: `@register_type`, or `@register_type("shop.order")` with a tag. An enum, a dataclass,
    a named tuple, an attrs class or a pydantic model needs no functions; subclasses are registered
    on their own.

    Args:
        cls: the class; or the tag, when used as a decorator.
        tag: the name of the type in stored bytes, for ever. By default the module and name of the
            class, so give one to be free to move or rename the class.
        encode: returns the parts of a value, as data of which every part can be stored.
        decode: makes the value from that; it must not do anything else.

    Returns:
        the class, or a decorator.

    Raises:
        ValueError: if another class has the tag, or the class has another tag.
        TypeError: if the class needs `encode` and `decode` and one of them is missing.
    """
    if cls is None or isinstance(cls, str):
        if cls is not None and tag is not None:
            msg = f"register_type was given the tag twice: {cls!r} and {tag!r}"
            raise TypeError(msg)
        name = tag if cls is None else cls
        return lambda decorated: register_type(decorated, name, encode=encode, decode=decode)
    form = _form(cls, tag, encode, decode)
    with _lock:
        _add(form)
    return cls


def registered_form(cls: type) -> Form | None:
    """Return how instances of exactly `cls` are stored, if it was registered."""
    return _by_type.get(cls)


def registered_tag(tag: str) -> Form | None:
    """Return the form of `tag`, if it was registered."""
    return _by_tag.get(tag)


def _form(cls: Any, tag: str | None, encode: Plain | None, decode: Plain | None) -> Form:
    if not isinstance(cls, type):
        msg = f"register_type must be given a class ({cls!r:.80})"
        raise TypeError(msg)
    if cls in _STANDARD_TYPES:
        msg = f"{cls.__qualname__} must not be registered: it can be stored already"
        raise ValueError(msg)
    tag = default_tag(cls) if tag is None else tag
    if not isinstance(tag, str) or not 0 < len(tag) <= limits.KEY_CHARS_MAX:
        msg = f"a tag must be a text of 1 to {limits.KEY_CHARS_MAX} characters ({tag!r:.80})"
        raise ValueError(msg)
    tag.encode()  # Raises for what could not be stored, a lone surrogate.
    if (encode is None) != (decode is None):
        msg = f"register_type({cls.__qualname__}) needs both encode and decode, or neither"
        raise TypeError(msg)
    if encode is None or decode is None:
        return class_form(cls, tag)
    return Form(tag, cls, encode, decode)


def _add(form: Form) -> None:
    other = _by_tag.get(form.tag)
    if form.tag in _STANDARD_TAGS or is_third_party_tag(form.tag):
        msg = f"the tag {form.tag!r} must not be that of a built-in type; choose another"
        raise ValueError(msg)
    if other is not None and other.cls is not form.cls:
        if not _is_again(form.cls, other.cls):
            msg = (
                f"the tag {form.tag!r} is already used by {default_tag(other.cls)}; "
                f"give {default_tag(form.cls)} its own"
            )
            raise ValueError(msg)
        del _by_type[other.cls]  # Its values would come back as instances of the new class.
    known = _by_type.get(form.cls)
    if known is not None and known.tag != form.tag:
        msg = (
            f"{default_tag(form.cls)} has the tag {known.tag!r} already, and values may be stored "
            f"under it: keep that one"
        )
        raise ValueError(msg)
    _by_type[form.cls] = _by_tag[form.tag] = form


def _is_again(cls: type, other: type) -> bool:
    """Whether a module was loaded again, or a notebook's cell run again."""
    return default_tag(cls) == default_tag(other) and "<locals>" not in cls.__qualname__
