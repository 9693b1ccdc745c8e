"""Values as msgpack, with an allow-list of types.

Knows how to turn a value into bytes and back, type and value alike; knows nothing of graphs.

Rule 1: a decoded value equals the encoded one, or the encoding fails with the path to the value.
Rule 2: a type has a stable tag, given here, by `register` or by `register_type`; bytes name tags,
        never import paths, and nothing is imported, called by name, or unpickled. (INV-10)
Rule 3: a type is exactly that type. An instance of a subclass, which may hold more or mean
        something else, is stored as what it is or not at all; but for a class that adds nothing to
        `str`: unless it is registered, it is stored as the text.
Rule 4: one codec, no fallback: bytes that do not decode raise, they are never tried another way.
Rule 5: nothing recurses here but msgpack's own bounded packer, so that no nesting, however deep,
        overflows the stack of the OS thread that encodes or decodes it.

A value of a type that msgpack does not have is stored as the list `[tag, plain form]`, whose first
item is an extension, which no other list can hold.
"""

from __future__ import annotations

import functools
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgpack

from orchestrator import limits
from orchestrator.envelope.damage import check_damage
from orchestrator.errors import StateCorruptedError, UnknownTypeError, UnserializableValueError
from orchestrator.serde.builtin_types import STANDARD
from orchestrator.serde.classes import Form, Plain, class_form, has_class_form, tag_of
from orchestrator.serde.third_party import (
    is_third_party_tag,
    text_of,
    third_party_form,
    third_party_tag,
)
from orchestrator.serde.type_registry import NATIVE, registered_form, registered_tag

_TAG = 1  # The one extension code: its payload is a tag.
_KEPT_BYTES_MAX = 1 << 20  # A writer whose buffer grew beyond this is not kept.

_PLAIN_BYTES_MAX = 1 << 14  # What is not longer is first read as if no value of it had a tag.

_SHORT_BYTES_MAX = 0xFF  # Up to here, one head alone begins bytes.

_SCALARS = NATIVE - {list, dict}


def _no_tag(code: int, _payload: bytes) -> Any:
    """Refuse an extension.

    Raises:
        ValueError: in any case.
    """
    msg = f"the extension {code} is no plain data"
    raise ValueError(msg)


_unpackb = functools.partial(msgpack.unpackb, strict_map_key=False, unicode_errors="surrogatepass")
_unpack_plain = functools.partial(_unpackb, ext_hook=_no_tag)


class Codec:
    """An encoder and decoder with its allow-list. Registering is for start-up, not for running."""

    def __init__(self) -> None:
        self._by_type: dict[type, Form] = {form.cls: form for form in STANDARD}
        self._by_tag: dict[str, Form] = {form.tag: form for form in STANDARD}
        self._writers: list[_Writer] = []  # Idle ones; taking and giving back are atomic.

    def register(self, tag: str, cls: type, to_plain: Plain, from_plain: Plain) -> None:
        """Allow `cls` under `tag`; the same pair twice is fine, another class under a tag is not.

        Raises:
            ValueError: if the tag is taken by another class.
        """
        self._add(Form(tag, cls, to_plain, from_plain))

    def register_class(self, cls: type, tag: str | None = None) -> None:
        """Allow an enum, dataclass, named tuple, attrs class, class of text or pydantic model.

        Without `tag`, under the tag that it was registered with in this process, else under its
        qualified name. Values stored under the qualified name stay readable in both cases.

        Raises:
            TypeError: if it is none of these; use `register` then.
            ValueError: if the tag is taken by another class.
        """
        if tag is None and (known := registered_form(cls) or third_party_form(cls)) is not None:
            if known.parts is not None:  # With functions of its own its plain form is another.
                self._by_tag.setdefault(tag_of(cls), known)
            return
        self._add(class_form(cls, tag or tag_of(cls)))

    def knows(self, cls: type) -> bool:
        """Return whether instances of exactly this class can be stored."""
        return cls in NATIVE or self.form(cls) is not None

    def form(self, cls: type) -> Form | None:
        """Return how instances of exactly this class are stored, if they are no plain data."""
        return self._by_type.get(cls) or registered_form(cls) or third_party_form(cls)

    def encode(self, value: Any) -> bytes:
        """Return the bytes of `value`.

        Raises:
            UnserializableValueError: if a type is not allowed, with the path to the value.
        """
        try:
            writer = self._writers.pop()
        except IndexError:
            writer = _Writer(self)
        try:
            packed = writer.write(value)
        except Exception as error:  # noqa: BLE001 - a registered function may raise any exception
            raise UnserializableValueError(_reason(value, self.form, error)) from None
        if len(packed) < _KEPT_BYTES_MAX:
            self._writers.append(writer)
        return packed[1:]

    def decode(self, data: bytes, placeholders: Placeholders | None = None) -> Any:
        """Return the value that `data` encodes.

        Args:
            data: what `encode` returned.
            placeholders: which values stay undecoded, and what replaces them; by default none do.

        Raises:
            StateCorruptedError: if the bytes are damaged.
            UnknownTypeError: if they name a type that is not allowed here.
        """
        if len(data) <= _PLAIN_BYTES_MAX:
            try:
                return _unpack_plain(data)
            except Exception:  # noqa: BLE001, S110 - it has a type, or is damaged: read it for real
                pass
        check_damage(data)
        by_tag = self._by_tag
        return _unpacked(
            data,
            _Reader(by_tag) if placeholders is None else _LenientReader(by_tag, placeholders),
        )

    def _add(self, form: Form) -> None:
        known = self._by_type.get(form.cls)
        if known is not None and known.tag == form.tag:
            return
        taken = self._by_tag.get(form.tag) or registered_tag(form.tag)
        if (taken is not None and taken.cls is not form.cls) or is_third_party_tag(form.tag):
            msg = (
                f"the tag {form.tag!r} is already used by another type; "
                f"give {form.cls.__qualname__} its own, with register_type"
            )
            raise ValueError(msg)
        self._by_type[form.cls] = self._by_tag[form.tag] = form


@dataclass(frozen=True, slots=True, eq=False)  # Equal to itself only, so that it may be a key.
class UnknownValue:
    """A value of a type that this process does not know; stored again, it is as it was.

    Attributes:
        type: what stored bytes call the type: by default the module and the name of its class.
        value: the parts of the value, as they are stored.
    """

    type: str
    value: Any

    def __repr__(self) -> str:
        """Return the type and the fields, in a form that no value of a known type has."""
        return f"<{self.type} {self.fields!r}>"

    @property
    def fields(self) -> Any:
        """Return the fields; a model is stored as its fields and the names of those set."""
        match self.value:
            case [dict() as fields, list()] | [dict() as fields, list(), None, None]:
                return fields
        return self.value


class _Writer:
    """A packer and its callbacks. Used for one value at a time."""

    __slots__ = ("codec", "known", "packer", "plains")

    def __init__(self, codec: Codec) -> None:
        self.codec, self.known = codec, codec._by_type  # noqa: SLF001 - its other half
        self.plains: list[Any] = []  # The plain forms of this value's typed parts.
        self.packer = msgpack.Packer(default=self.typed, strict_types=True)

    def write(self, value: Any) -> bytes:
        """Return a list of the one value: so the packer gives up a level before the unpacker."""
        try:
            packed: bytes = self.packer.pack([value])
        except UnicodeEncodeError:  # A lone surrogate; allowing them always costs half the speed.
            packed = self._lenient().pack([value])
        if (
            type(value) not in _SCALARS
            and (len(packed) > _SHORT_BYTES_MAX or b"\xc4" in packed)
            and may_hold_bytes(packed)
            and hold_buffers([value, *self.plains])
        ):
            packed = self._apart(value)
        if self.plains:
            self.plains.clear()
        return packed

    def typed(self, value: Any) -> list[Any] | str:
        """Return the list that encodes a value of a type that msgpack lacks, or a text.

        Raises:
            TypeError: if values of the type cannot be stored.
        """
        cls = type(value)
        if cls is UnknownValue:
            self.plains.append(value.value)
            return [_mark(value.type), value.value]
        form = self.known.get(cls) or self.codec.form(cls)
        if form is None:
            if (text := text_of(value)) is not None:
                return text
            msg = f"type {cls.__module__}.{cls.__qualname__} is not allowed"
            raise TypeError(msg)
        plain = form.to_plain(value)
        self.plains.append(plain)
        return [_mark(form.tag), plain]

    def _lenient(self, **more: bool) -> Any:
        return msgpack.Packer(
            default=self.typed, strict_types=True, unicode_errors="surrogatepass", **more
        )

    def _apart(self, value: Any) -> bytes:
        """Pack part by part, as msgpack would if it asked for every type."""
        # The tag of a bytearray adds a level: the one that `write` keeps free.
        packer = self._lenient(autoreset=False)
        todo = [[value]]
        while todo:
            part: Any = todo.pop()
            cls = type(part)
            if cls is list:
                packer.pack_array_header(len(part))
                todo += reversed(part)
            elif cls is dict:
                packer.pack_map_header(len(part))
                for key, item in reversed(part.items()):
                    todo += (item, key)
            elif cls in _SCALARS:
                packer.pack(part)
            else:
                typed = self.typed(part)
                if isinstance(typed, str):
                    packer.pack(typed)
                    continue
                packer.pack_array_header(2)
                packer.pack(typed[0])
                todo.append(typed[1])
        packed: bytes = packer.bytes()
        return packed


@functools.cache  # As many as there are types.
def _mark(tag: str) -> msgpack.ExtType:
    return msgpack.ExtType(_TAG, tag.encode())


class _Reader:
    """The callbacks of msgpack's decoder."""

    __slots__ = ("by_tag", "open")

    def __init__(self, by_tag: dict[str, Form]) -> None:
        self.by_tag, self.open = by_tag, 0

    def tag(self, code: int, payload: bytes) -> _Tag:
        """Return a tag, which the list around it will use up."""
        if code != _TAG:
            msg = f"stored bytes hold the unknown extension {code}"
            raise StateCorruptedError(msg)
        self.open += 1
        return _Tag(payload.decode())

    def list(self, items: list[Any]) -> Any:
        """Return a list, or the value that it encodes."""
        if not items or type(items[0]) is not _Tag:
            return items
        tag, plain = items
        form = self.by_tag.get(tag) or registered_tag(tag) or third_party_tag(str(tag))
        if form is None:
            msg = (
                f"a stored value has the type {str(tag)!r}, which this process does not know: "
                f"load the graph whose state names it, or give it to orchestrator.register_type"
            )
            raise UnknownTypeError(msg)
        self.open -= 1
        try:
            return form.from_plain(plain)
        except StateCorruptedError:
            raise
        except Exception as error:
            msg = (
                f"a stored value of the type {str(tag)!r} does not come back "
                f"({type(error).__name__}: {error!s:.400})"
            )
            raise StateCorruptedError(msg) from error


class _LenientReader(_Reader):
    """Replaces some values by placeholders."""

    __slots__ = ("placeholders",)

    def __init__(self, by_tag: dict[str, Form], placeholders: Placeholders) -> None:
        super().__init__(by_tag)
        self.placeholders = placeholders

    def list(self, items: list[Any]) -> Any:
        """Return a list, the value that it encodes, or the placeholder of that value."""
        if not items or type(items[0]) is not _Tag:
            return items
        if not self.placeholders.replaces(self, items[0]):
            return super().list(items)
        self.open -= 1
        return self.placeholders.make(str(items[0]), items[1])

    def is_unknown(self, tag: str) -> bool:
        """Return whether this process has no type for a tag."""
        try:
            return not (self.by_tag.get(tag) or registered_tag(tag) or third_party_tag(str(tag)))
        except StateCorruptedError:  # Its package is not installed.
            return True

    def is_of_users(self, tag: str) -> bool:
        """Return whether the codec was not given the type of a tag."""
        return tag not in self.by_tag


class _PlainValue(dict[str, Any]):
    """The plain form of a value, which may be a key."""

    __slots__ = ()
    __hash__ = object.__hash__  # type: ignore[assignment]


def _hashable(tag: str, plain: Any) -> Any:
    """Return a plain form that may be a key, as the value may have been."""
    del tag
    if isinstance(plain, list):
        return tuple(plain)
    return _PlainValue(plain) if isinstance(plain, dict) else plain


@dataclass(frozen=True, slots=True)
class Placeholders:
    """Which values of types a decoder leaves undecoded, and what it returns instead."""

    replaces: Callable[[_LenientReader, str], bool]  # By the tag of the type.
    make: Callable[[str, Any], Any]  # From the tag and the plain form.


# For readers of the records around values. A value decoded so is never stored again.
ALL_PLAIN = Placeholders(lambda _, __: True, _hashable)
UNKNOWN_PLAIN = Placeholders(_LenientReader.is_unknown, _hashable)
# For readers that show values, or pass them on: encoded again, the bytes are as before.
UNKNOWN_TYPED = Placeholders(_LenientReader.is_unknown, UnknownValue)
USERS_TYPED = Placeholders(_LenientReader.is_of_users, UnknownValue)


def _unpacked(data: bytes, reader: _Reader) -> Any:
    try:
        value = _unpackb(data, ext_hook=reader.tag, list_hook=reader.list)
    except StateCorruptedError:
        raise
    except Exception as error:
        msg = f"stored bytes do not decode ({type(error).__name__}: {error})"
        raise StateCorruptedError(msg) from error
    if reader.open:
        raise StateCorruptedError("stored bytes hold a tag without a value")
    return value


class _Tag(str):
    """The first item of a list that encodes a value."""

    __slots__ = ()


# ---- buffers --------------------------------------------------------------------------------
#
# Msgpack's packer calls back for each type it does not know, but packs a `bytearray` or a
# `memoryview` as if it were `bytes`. Searching each part of a value costs more than packing it, so
# the packed bytes are searched first, which is quick: without bytes in them there are no buffers.
_BUFFERS = frozenset({bytearray, memoryview, msgpack.ExtType})

# Heads of types other than bytes, by how many bytes after them are a number, a length or a type.
_REACH = bytearray(256)
for _heads, _reach in (
    (b"\xcc\xd0\xd9\xd4\xd5\xd6\xd7\xd8", 1),
    (b"\xcd\xd1\xda\xdc\xde\xc7", 2),
    (b"\xc8", 3),
    (b"\xce\xd2\xca\xdb\xdd\xdf", 4),
    (b"\xc9", 5),
    (b"\xcf\xd3\xcb", 8),
):
    for _head in _heads:
        _REACH[_head] = _reach
_REACH_MAX = 8


def may_hold_bytes(packed: bytes) -> bool:
    """Return whether packed data may hold bytes; `False` is certain."""
    # One of three heads precedes bytes: always the shortest that fits their length.
    return (
        (b"\xc4" in packed and _is_head_somewhere(packed, 0xC4))
        or (len(packed) > 0xFF and b"\xc5" in packed and _is_head_somewhere(packed, 0xC5))
        or (len(packed) > 0xFFFF and b"\xc6" in packed)
    )


def _is_head_somewhere(packed: bytes, byte: int) -> bool:
    """Return whether `byte` may be a head anywhere; in a number or a length it is one by chance."""
    at = packed.find(byte)
    for _ in range(4 + (len(packed) >> 13)):  # As many as texts of one length may be in it.
        if at < 0:
            return False
        for head in range(max(at - _REACH_MAX, 0), at):
            if _REACH[packed[head]] >= at - head and _is_head(packed, head):
                break
        else:
            return True
        at = packed.find(byte, at + 1)
    return at >= 0  # With more of them, searching the parts of the value is quicker.


def _is_head(packed: bytes, at: int) -> bool:
    """Return whether the byte is a head for certain, if no bytes precede it.

    Then it is in a text, or reached by another head, or it is one. In a text, heads with a reach
    are what begins a character of two bytes (UTF-8), which ends with a byte of another kind.
    """
    if 0x80 <= packed[at + 1] <= 0xBF:
        return False
    # A plain loop: `any` with a generator takes three times as long.
    for head in range(max(at - _REACH_MAX, 0), at):  # noqa: SIM110
        if _REACH[packed[head]] >= at - head:
            return False
    return True


def hold_buffers(layer: list[Any]) -> bool:
    """Return whether plain data holds what msgpack would store as something else."""
    while layer:  # Level by level: few steps over many parts are quicker than a step for each.
        if type(layer[0]) is float and _are_numbers(layer):
            return False
        kinds = set(map(type, layer))
        if not kinds.isdisjoint(_BUFFERS):
            return True
        below: list[Any] = []
        if dict in kinds:
            for mapping in [part for part in layer if type(part) is dict]:
                below += mapping.values()
        if list in kinds:
            for items in [part for part in layer if type(part) is list]:
                below += items
        layer = below
    return False


def _are_numbers(layer: list[Any]) -> bool:
    """Return whether all are numbers: three times quicker than asking for types (an embedding)."""
    if type(layer[-1]) is not float:
        return False
    try:
        struct.pack(f"{len(layer)}d", *layer)
    except Exception:  # noqa: BLE001 - a type with a `__float__` may raise anything
        return False
    return True


# ---- errors ---------------------------------------------------------------------------------

_LANGGRAPH = "langgraph.types"
_COUNTERPARTS = {"Command", "Interrupt", "Overwrite", "Send"}  # Those have a counterpart here.


def _reason(value: Any, form_of: Callable[[type], Form | None], error: Exception) -> str:
    """Return why `value` cannot be encoded: the path to the part, its type, and what to do.

    Args:
        value: the value.
        form_of: returns the form of a type, or `None` if its instances cannot be stored.
        error: the encoder's exception, for the case that every part has a form.
    """
    todo = [(value, "value", 0)]
    while todo:
        part, path, depth = todo.pop()
        cls = type(part)
        if depth > limits.VALUE_DEPTH_MAX:
            return f"{path:.200} is nested deeper than {limits.VALUE_DEPTH_MAX} levels"
        if cls in _SCALARS:
            continue
        form = form_of(cls)
        if form is None and text_of(part) is not None:
            continue
        if form is None and cls not in NATIVE:
            return f"{path} is a {cls.__module__}.{cls.__qualname__}, {_remedy(cls, form_of)}"
        children = _children(part)
        if form is not None:
            depth += 1  # It is a list of its own: tag and plain form.
            try:
                plain = form.to_plain(part)
                inside = form.parts(part) if form.parts is not None else [("", plain)]
            except Exception as reason:  # noqa: BLE001 - any exception is the reason
                return f"{path} cannot be stored: {type(reason).__name__}: {reason}"
            if form.parts is not None or not children:
                children = inside
        todo += [(child, path + step, depth + 1) for step, child in reversed(children)]
    return f"the value cannot be stored: {type(error).__name__}: {error}"


def _remedy(cls: type, form_of: Callable[[type], Form | None]) -> str:
    if cls.__module__ == _LANGGRAPH and cls.__name__ in _COUNTERPARTS:
        return f"which is LangGraph's: import {cls.__name__} from orchestrator"
    known = next((base for base in cls.__mro__[1:-1] if base in NATIVE or form_of(base)), None)
    remedy = (
        "which cannot be stored. Return plain data, or name the type in the state's schema, or "
    )
    remedy += "give it to orchestrator.register_type"
    if not has_class_form(cls):
        remedy += " with functions that encode and decode it"
    if known is not None:
        # As its base it would come back as less than it was.
        remedy += f" ({known.__qualname__} can be stored, its subclasses only on their own)"
    return remedy


def _children(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        keys = [(f"<key {_shown(key)}>", key) for key in value]
        return keys + [(f"[{_shown(key)}]", item) for key, item in value.items()]
    if isinstance(value, (list, tuple, set, frozenset, deque)):
        return [(f"[{index}]", item) for index, item in enumerate(value)]
    return []


def _shown(key: Any) -> str:
    try:
        return f"{key!r:.80}"
    except Exception:  # noqa: BLE001 - a key may be too long, too deep or too odd to print
        return f"a {type(key).__qualname__}"
