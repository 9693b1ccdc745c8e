"""Values as msgpack, with an allow-list of types.

Knows how to turn a value into bytes and back, type and value alike; knows nothing of graphs.

Rule 1: what comes back is what went in, or the encoding fails with the path to the value.
Rule 2: a type has a stable tag, given here or by `register`; bytes name tags, never import paths,
        and nothing is imported, called by name, or unpickled. (INV-10)
Rule 3: `bytearray` and `memoryview` are bytes to msgpack and come back as `bytes`.
Rule 4: one codec, no fallback: bytes that do not decode raise, they are never tried another way.
Rule 5: nothing recurses here but msgpack's own bounded packer, so that no nesting, however deep,
        overflows the stack of the OS thread that encodes or decodes it.

A value of a type that msgpack does not have is stored as the list `[tag, plain form]`, whose first
item is an extension, which no other list can hold.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import pathlib
import uuid
import zoneinfo
from collections import deque
from collections.abc import Callable
from typing import Any

import msgpack

from orchestrator import limits
from orchestrator.errors import StateCorruptedError, UnserializableValueError

__all__ = ["Codec"]

_TAG = 1  # The one extension code: its payload is a tag.

_Plain = Callable[[Any], Any]


class Codec:
    """An encoder and decoder with its allow-list. Registering is for start-up, not for running."""

    def __init__(self) -> None:
        """Allow the types of the standard library that states are made of."""
        self._by_type: dict[type, tuple[str, _Plain]] = {}
        self._by_tag: dict[str, _Plain] = {}
        for tag, cls, to_plain, from_plain in _BUILTIN:
            self._by_type[cls] = (tag, to_plain)
            self._by_tag[tag] = from_plain

    def register(self, tag: str, cls: type, to_plain: _Plain, from_plain: _Plain) -> None:
        """Allow `cls` under `tag`; the same pair twice is fine, another class under a tag is not.

        Raises:
            ValueError: if the tag is taken by another class.
        """
        known = self._by_type.get(cls)
        if known is not None and known[0] == tag:
            return
        if tag in self._by_tag:
            msg = (
                f"the tag {tag!r} already stands for another type; give {cls.__qualname__} its own"
            )
            raise ValueError(msg)
        self._by_type[cls] = (tag, to_plain)
        self._by_tag[tag] = from_plain

    def register_class(self, cls: type, tag: str | None = None) -> None:
        """Allow an enum, a dataclass or a pydantic model by its qualified name.

        Raises:
            TypeError: if it is none of these; use `register` then.
        """
        tag = tag or f"{cls.__module__}.{cls.__qualname__}"
        if issubclass(cls, enum.Flag):
            self.register(tag, cls, lambda flags: flags.value, cls)  # Several have no one name.
        elif issubclass(cls, enum.Enum):
            self.register(tag, cls, lambda member: member.name, lambda name: cls[name])
        elif dataclasses.is_dataclass(cls):
            self.register(tag, cls, _dataclass_fields, lambda fields: _make_dataclass(cls, fields))
        elif hasattr(cls, "model_fields"):
            self.register(tag, cls, _model_fields, lambda plain: _make_model(cls, plain))
        else:
            msg = (
                f"{tag} is no enum, dataclass or pydantic model: register it with its own functions"
            )
            raise TypeError(msg)

    def knows(self, cls: type) -> bool:
        """Return whether instances of exactly this class can be stored."""
        return cls in self._by_type or cls in _NATIVE

    def encode(self, value: Any) -> bytes:
        """Return the bytes of `value`.

        Raises:
            UnserializableValueError: if a type is not allowed, with the path to the value.
        """
        try:
            # In a list, so that the packer gives up one level before the unpacker would.
            packed: bytes = msgpack.packb(
                [value], default=self._typed, strict_types=True, unicode_errors="surrogatepass"
            )
        except Exception as error:  # noqa: BLE001 - also whatever a registered function raises
            raise UnserializableValueError(self._explain(value, error)) from None
        return packed[1:]

    def decode(self, data: bytes) -> Any:
        """Return the value that `data` stands for.

        Raises:
            StateCorruptedError: if the bytes are damaged or name a type that is not allowed here.
        """
        try:
            reader = _Reader(self._by_tag)
            value = msgpack.unpackb(
                data,
                ext_hook=reader.tag,
                list_hook=reader.list,
                strict_map_key=False,
                unicode_errors="surrogatepass",
            )
        except StateCorruptedError:
            raise
        except Exception as error:
            msg = f"stored bytes do not decode ({type(error).__name__}: {error})"
            raise StateCorruptedError(msg) from error
        if reader.open:
            raise StateCorruptedError("stored bytes hold a tag without a value")
        return value

    def _typed(self, value: Any) -> list[Any]:
        known = self._by_type.get(type(value))
        if known is None:
            msg = f"type {type(value).__module__}.{type(value).__qualname__} is not allowed"
            raise TypeError(msg)
        tag, to_plain = known
        return [msgpack.ExtType(_TAG, tag.encode()), to_plain(value)]

    def _explain(self, value: Any, error: Exception) -> str:
        """Return why `value` cannot be encoded, with the path to the first part that cannot."""
        todo = [(value, "value", 0)]
        while todo:
            part, path, depth = todo.pop()
            cls = type(part)
            if depth > limits.VALUE_DEPTH_MAX:
                return f"{path:.200} is nested deeper than {limits.VALUE_DEPTH_MAX} levels"
            if cls in _SCALARS:
                continue
            if cls not in self._by_type and cls not in _NATIVE:
                return (
                    f"{path} is a {cls.__module__}.{cls.__qualname__}, which cannot be stored. "
                    f"Return plain data, or name the type in the state's schema, or register it"
                )
            children = _children(part)
            if cls in self._by_type:
                depth += 1  # It is a list of its own: tag and plain form.
                try:
                    plain = self._by_type[cls][1](part)
                except Exception as reason:  # noqa: BLE001 - whatever it is, it is why
                    return f"{path} cannot be stored: {type(reason).__name__}: {reason}"
                children = children or [("", plain)]
            todo += [(child, path + step, depth + 1) for step, child in reversed(children)]
        return f"the value cannot be stored: {error}"


class _Reader:
    """What msgpack calls back while it decodes."""

    __slots__ = ("by_tag", "open")

    def __init__(self, by_tag: dict[str, _Plain]) -> None:
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
        from_plain = self.by_tag.get(tag)
        if from_plain is None:
            msg = (
                f"a stored value has the type {str(tag)!r}, which this process does not know: "
                f"load the graph whose state names it, or register the type"
            )
            raise StateCorruptedError(msg)
        self.open -= 1
        return from_plain(plain)


class _Tag(str):
    """The first item of a list that stands for a value."""

    __slots__ = ()


_SCALARS = {type(None), bool, int, float, str, bytes}
_NATIVE = {*_SCALARS, list, dict}


def _children(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        keys = [(f"<key {_shown(key)}>", key) for key in value]
        return keys + [(f"[{_shown(key)}]", item) for key, item in value.items()]
    if isinstance(value, (list, tuple, set, frozenset, deque)):
        return [(f"[{index}]", item) for index, item in enumerate(value)]
    if dataclasses.is_dataclass(value):
        return [(f".{f.name}", getattr(value, f.name, None)) for f in dataclasses.fields(value)]
    if hasattr(type(value), "model_fields"):
        kept = [value.__dict__, value.__pydantic_extra__, value.__pydantic_private__]
        return [(f".{name}", item) for part in kept for name, item in (part or {}).items()]
    return []


def _shown(key: Any) -> str:
    try:
        return f"{key!r:.80}"
    except Exception:  # noqa: BLE001 - a key may be too long, too deep or too odd to print
        return f"a {type(key).__qualname__}"


def _dataclass_fields(value: Any) -> dict[str, Any]:
    return {
        f.name: getattr(value, f.name) for f in dataclasses.fields(value) if hasattr(value, f.name)
    }


def _make_dataclass(cls: type, fields: dict[str, Any]) -> Any:
    # Fields are set directly: running __init__ again could change or refuse what was stored.
    instance: Any = object.__new__(cls)
    for name, item in fields.items():
        object.__setattr__(instance, name, item)
    return instance


def _model_fields(value: Any) -> list[Any]:
    return [
        value.__dict__,
        sorted(value.model_fields_set),
        value.__pydantic_extra__,
        value.__pydantic_private__ and dict(value.__pydantic_private__),
    ]


def _make_model(cls: Any, plain: list[Any]) -> Any:
    fields, fields_set, extra, private = plain
    instance = cls.__new__(cls)
    instance.__setstate__(
        {
            "__dict__": fields,
            "__pydantic_fields_set__": set(fields_set),
            "__pydantic_extra__": extra,
            "__pydantic_private__": private,
        }
    )
    return instance


def _zone(value: zoneinfo.ZoneInfo) -> str:
    if value.key is None:
        msg = "a ZoneInfo without a key"
        raise TypeError(msg)
    return value.key


def _datetime_plain(value: dt.datetime) -> list[Any]:
    naive = value.replace(tzinfo=None)
    return [naive.isoformat(), value.tzinfo, value.fold]


def _datetime(plain: list[Any]) -> dt.datetime:
    text, zone, fold = plain
    return dt.datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold)


def _time_plain(value: dt.time) -> list[Any]:
    return [value.replace(tzinfo=None).isoformat(), value.tzinfo, value.fold]


def _time(plain: list[Any]) -> dt.time:
    text, zone, fold = plain
    return dt.time.fromisoformat(text).replace(tzinfo=zone, fold=fold)


def _timezone_plain(value: dt.timezone) -> list[Any]:
    return list(value.__getinitargs__())  # type: ignore[attr-defined]


_BUILTIN: tuple[tuple[str, type, _Plain, _Plain], ...] = (
    ("int", int, hex, lambda text: int(text, 16)),  # Only integers beyond 64 bits get here.
    ("tuple", tuple, list, tuple),
    ("set", set, list, set),
    ("frozenset", frozenset, list, frozenset),
    ("deque", deque, lambda d: [list(d), d.maxlen], lambda plain: deque(plain[0], plain[1])),
    ("complex", complex, lambda c: [c.real, c.imag], lambda plain: complex(*plain)),
    ("datetime", dt.datetime, _datetime_plain, _datetime),
    ("date", dt.date, dt.date.isoformat, dt.date.fromisoformat),
    ("time", dt.time, _time_plain, _time),
    (
        "timedelta",
        dt.timedelta,
        lambda d: [d.days, d.seconds, d.microseconds],
        lambda plain: dt.timedelta(*plain),
    ),
    ("timezone", dt.timezone, _timezone_plain, lambda plain: dt.timezone(*plain)),
    ("zone", zoneinfo.ZoneInfo, _zone, zoneinfo.ZoneInfo),
    ("decimal", decimal.Decimal, str, decimal.Decimal),
    ("uuid", uuid.UUID, lambda u: u.bytes, lambda plain: uuid.UUID(bytes=plain)),
    ("path", type(pathlib.Path()), str, pathlib.Path),
    ("pure-path", pathlib.PurePosixPath, str, pathlib.PurePosixPath),
)
