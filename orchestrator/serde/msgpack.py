"""Values as msgpack, with an allow-list of types.

Knows how to turn a value into bytes and back, type and value alike; knows nothing of graphs.

Rule 1: what comes back is what went in, or the encoding fails with the path to the value.
Rule 2: a type has a stable tag, given here or by `register`; bytes name tags, never import paths,
        and nothing is imported, called by name, or unpickled. (INV-10)
Rule 3: `bytearray` and `memoryview` are bytes to msgpack and come back as `bytes`.
Rule 4: one codec, no fallback: bytes that do not decode raise, they are never tried another way.
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

_TYPED = 1  # The one extension code: payload is msgpack([tag, plain form]).

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
        if issubclass(cls, enum.Enum):
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
            packed: bytes = msgpack.packb(
                value, default=self._typed, strict_types=True, unicode_errors="surrogatepass"
            )
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise UnserializableValueError(self._explain(value, error)) from None
        return packed

    def decode(self, data: bytes) -> Any:
        """Return the value that `data` stands for.

        Raises:
            StateCorruptedError: if the bytes are damaged or name a type that is not allowed here.
        """
        try:
            return msgpack.unpackb(
                data,
                ext_hook=self._untyped,
                strict_map_key=False,
                unicode_errors="surrogatepass",
            )
        except StateCorruptedError:
            raise
        except Exception as error:
            msg = f"stored bytes do not decode ({type(error).__name__}: {error})"
            raise StateCorruptedError(msg) from error

    def _typed(self, value: Any) -> msgpack.ExtType:
        known = self._by_type.get(type(value))
        if known is None:
            msg = f"type {type(value).__module__}.{type(value).__qualname__} is not allowed"
            raise TypeError(msg)
        tag, to_plain = known
        return msgpack.ExtType(_TYPED, self.encode([tag, to_plain(value)]))

    def _untyped(self, code: int, payload: bytes) -> Any:
        if code != _TYPED:
            msg = f"stored bytes hold the unknown extension {code}"
            raise StateCorruptedError(msg)
        tag, plain = self.decode(payload)
        from_plain = self._by_tag.get(tag)
        if from_plain is None:
            msg = (
                f"a stored value has the type {tag!r}, which this process does not know: "
                f"load the graph whose state names it, or register the type"
            )
            raise StateCorruptedError(msg)
        return from_plain(plain)

    def _explain(self, value: Any, error: Exception) -> str:
        found = self._find(value, "value", 0)
        if found is None:
            return f"the value cannot be stored: {error}"
        path, cls = found
        if cls is None:
            return f"{path} is nested deeper than {limits.VALUE_DEPTH_MAX} levels"
        return (
            f"{path} is a {cls.__module__}.{cls.__qualname__}, which cannot be stored. "
            f"Return plain data, or name the type in the state's schema, or register it"
        )

    def _find(self, value: Any, path: str, depth: int) -> tuple[str, type | None] | None:
        """Return path and class of the first value that cannot be encoded."""
        if depth > limits.VALUE_DEPTH_MAX:
            return path, None
        cls = type(value)
        if cls in _SCALARS:
            return None
        if cls not in _NATIVE and cls not in self._by_type:
            return path, cls
        for step, child in _children(value):
            found = self._find(child, path + step, depth + 1)
            if found is not None:
                return found
        return None


_SCALARS = {type(None), bool, int, float, str, bytes}
_NATIVE = {*_SCALARS, list, dict}


def _children(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        keys = [(f"<key {key!r}>", key) for key in value]
        return keys + [(f"[{key!r}]", item) for key, item in value.items()]
    if isinstance(value, (list, tuple, set, frozenset, deque)):
        return [(f"[{index}]", item) for index, item in enumerate(value)]
    if dataclasses.is_dataclass(value):
        return [(f".{f.name}", getattr(value, f.name, None)) for f in dataclasses.fields(value)]
    if hasattr(type(value), "model_fields"):
        return [(f".{name}", item) for name, item in value.__dict__.items()]
    return []


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
    ("int", int, str, int),  # Only integers beyond 64 bits get here.
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
