"""Values as msgpack, with an allow-list of types.

Knows how to turn a value into bytes and back, type and value alike; knows nothing of graphs.

Rule 1: what comes back is what went in, or the encoding fails with the path to the value.
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
from dataclasses import dataclass
from typing import Any

import msgpack

from orchestrator.damage import check_damage
from orchestrator.errors import StateCorruptedError, UnknownTypeError, UnserializableValueError
from orchestrator.serde.buffers import hold_buffers, may_hold_bytes
from orchestrator.serde.classes import class_form, tag_of
from orchestrator.serde.explaining import explain
from orchestrator.serde.foreign import foreign_form, foreign_tag, is_foreign_tag, text_of
from orchestrator.serde.forms import Form, Plain
from orchestrator.serde.registry import NATIVE, registered_form, registered_tag
from orchestrator.serde.standard import STANDARD

__all__ = ["Codec", "UnknownValue"]

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
        """Allow the types of the standard library that states are made of."""
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
        qualified name. What is stored under that name already can be read in any case.

        Raises:
            TypeError: if it is none of these; use `register` then.
            ValueError: if the tag is taken by another class.
        """
        if tag is None and (known := registered_form(cls) or foreign_form(cls)) is not None:
            if known.parts is not None:  # With functions of its own its plain form is another.
                self._by_tag.setdefault(tag_of(cls), known)
            return
        self._add(class_form(cls, tag or tag_of(cls)))

    def knows(self, cls: type) -> bool:
        """Return whether instances of exactly this class can be stored."""
        return cls in NATIVE or self.form(cls) is not None

    def form(self, cls: type) -> Form | None:
        """Return how instances of exactly this class are stored, if they are no plain data."""
        return self._by_type.get(cls) or registered_form(cls) or foreign_form(cls)

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
        except Exception as error:  # noqa: BLE001 - also whatever a registered function raises
            raise UnserializableValueError(explain(value, self.form, error)) from None
        if len(packed) < _KEPT_BYTES_MAX:
            self._writers.append(writer)
        return packed[1:]

    def decode(self, data: bytes) -> Any:
        """Return the value that `data` stands for.

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
        return _unpacked(data, _Reader(self._by_tag))

    def decode_plain(self, data: bytes) -> Any:
        """Return the value that `data` stands for, with plain data where values of types stand.

        For who reads what is around values without knowing their types.

        Raises:
            StateCorruptedError: if the bytes are damaged.
        """
        check_damage(data)
        return _unpacked(data, _PlainReader(self._by_tag))

    def decode_known(self, data: bytes) -> Any:
        """Return the value that `data` stands for, with plain data where its type is not known.

        For who shows values, and never stores them again.

        Raises:
            StateCorruptedError: if the bytes are damaged.
        """
        check_damage(data)
        return _unpacked(data, _KnowingReader(self._by_tag))

    def decode_showing(self, data: bytes) -> Any:
        """Return the value that `data` stands for, with `UnknownValue` where a type is not known.

        For who shows values, and may bring them back.

        Raises:
            StateCorruptedError: if the bytes are damaged.
        """
        check_damage(data)
        return _unpacked(data, _ShowingReader(self._by_tag))

    def decode_carrying(self, data: bytes) -> Any:
        """Return the value that `data` stands for, with `UnknownValue` where users' types stand.

        For who passes values on without knowing their types: encoded again, they are as before.

        Raises:
            StateCorruptedError: if the bytes are damaged.
        """
        check_damage(data)
        return _unpacked(data, _CarryingReader(self._by_tag))

    def _add(self, form: Form) -> None:
        known = self._by_type.get(form.cls)
        if known is not None and known.tag == form.tag:
            return
        taken = self._by_tag.get(form.tag) or registered_tag(form.tag)
        if (taken is not None and taken.cls is not form.cls) or is_foreign_tag(form.tag):
            msg = (
                f"the tag {form.tag!r} already stands for another type; "
                f"give {form.cls.__qualname__} its own, with register_type"
            )
            raise ValueError(msg)
        self._by_type[form.cls] = self._by_tag[form.tag] = form


@dataclass(frozen=True, slots=True, eq=False)  # Equal to itself only, so that it may be a key.
class UnknownValue:
    """A value of a type that this process does not know; stored again, it is as it was.

    Attributes:
        type: what stored bytes call the type: by default the module and the name of its class.
        value: what the value consists of, as it is stored.
    """

    type: str
    value: Any

    def __repr__(self) -> str:
        """Return the type and what is in the value, as no value of a known type prints."""
        return f"<{self.type} {self.fields!r}>"

    @property
    def fields(self) -> Any:
        """Return the fields, of what is stored as fields with a note of those that were set."""
        match self.value:
            case [dict() as fields, list()] | [dict() as fields, list(), None, None]:
                return fields
        return self.value


class _Writer:
    """A packer, and what it calls back for. Used for one value at a time."""

    __slots__ = ("codec", "known", "packer", "plains")

    def __init__(self, codec: Codec) -> None:
        self.codec, self.known = codec, codec._by_type  # noqa: SLF001 - its other half
        self.plains: list[Any] = []  # What registered types came down to, in this value.
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
        """Return the list that stands for a value of a type that msgpack does not have, or a text.

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
    """What msgpack calls back while it decodes."""

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
        """Return a list, or the value that it stands for."""
        if not items or type(items[0]) is not _Tag:
            return items
        tag, plain = items
        form = self.by_tag.get(tag) or registered_tag(tag) or foreign_tag(str(tag))
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


class _CarryingReader(_Reader):
    """Leaves unread what stands for a value of a type that this codec was not given."""

    __slots__ = ()

    def list(self, items: list[Any]) -> Any:
        """Return a list, the value that it stands for, or that value unread."""
        if not items or type(items[0]) is not _Tag or items[0] in self.by_tag:
            return super().list(items)
        tag, plain = items
        self.open -= 1
        return UnknownValue(str(tag), plain)


class _PlainReader(_Reader):
    """Leaves plain what stands for a value of a type."""

    __slots__ = ()

    def list(self, items: list[Any]) -> Any:
        """Return a list, or the plain form of a value; a tuple, since it may be a key."""
        if not items or type(items[0]) is not _Tag:
            return items
        self.open -= 1
        plain = items[1]
        if isinstance(plain, list):
            return tuple(plain)
        return _PlainValue(plain) if isinstance(plain, dict) else plain


class _PlainValue(dict[str, Any]):
    """The plain form of a value, which may be a key."""

    __slots__ = ()
    __hash__ = object.__hash__  # type: ignore[assignment]


class _KnowingReader(_PlainReader):
    """Leaves plain what stands for a value of a type that this process does not know."""

    __slots__ = ()

    def list(self, items: list[Any]) -> Any:
        """Return a list, the value that it stands for, or the plain form of that value."""
        if items and type(items[0]) is _Tag and not self._knows(items[0]):
            return super().list(items)
        return _Reader.list(self, items)

    def _knows(self, tag: _Tag) -> bool:
        try:
            return bool(self.by_tag.get(tag) or registered_tag(tag) or foreign_tag(str(tag)))
        except StateCorruptedError:  # Its package is not installed.
            return False


class _ShowingReader(_KnowingReader):
    """Names the type of a value that this process does not know."""

    __slots__ = ()

    def list(self, items: list[Any]) -> Any:
        """Return a list, the value that it stands for, or what names its type."""
        if items and type(items[0]) is _Tag and not self._knows(items[0]):
            tag, plain = items
            self.open -= 1
            return UnknownValue(str(tag), plain)
        return _Reader.list(self, items)


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
    """The first item of a list that stands for a value."""

    __slots__ = ()
