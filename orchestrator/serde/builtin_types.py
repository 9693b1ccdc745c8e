"""The types of the standard library that every codec can store.

Rule 1: a tag in this table never changes its meaning, and values stored under it stay readable.
Rule 2: `from_plain` accepts exactly what `to_plain` returns. Damaged bytes can hold anything, so a
        length, a range or a number in the wrong place must not be worked through.
"""

from __future__ import annotations

import datetime as dt
import decimal
import fractions
import ipaddress
import pathlib
import re
import uuid
import zoneinfo
from collections import Counter, OrderedDict, defaultdict, deque
from typing import Any

from orchestrator.serde.classes import Form, Plain, only

# The factories that a `defaultdict` may have: a function cannot be stored, nor imported by name.
_FACTORIES: dict[str, Any] = {
    each.__name__: each
    for each in (bool, bytes, dict, float, frozenset, int, list, set, str, tuple)
} | {"Counter": Counter, "OrderedDict": OrderedDict, "deque": deque}


def _tuple(plain: Any) -> tuple[Any, ...]:
    return tuple(plain if type(plain) is list else only(list, plain))  # The commonest of all.


def _set(plain: Any) -> set[Any]:
    return set(only(list, plain))


def _frozenset(plain: Any) -> frozenset[Any]:
    return frozenset(only(list, plain))


def _deque(plain: Any) -> deque[Any]:
    items, maxlen = plain
    return deque(only(list, items), maxlen)


def _bytearray(plain: Any) -> bytearray:
    return bytearray(only(bytes, plain))


def _ordered(plain: Any) -> OrderedDict[Any, Any]:
    return OrderedDict(only(dict, plain))


def _counter(plain: Any) -> Counter[Any]:
    return Counter(only(dict, plain))


def _defaultdict_plain(value: defaultdict[Any, Any]) -> list[Any]:
    factory = value.default_factory
    names = [name for name, each in _FACTORIES.items() if each is factory]
    if factory is not None and not names:
        msg = (
            f"its default_factory is {factory!r:.80}, and a function is not stored: use one of "
            f"{', '.join(sorted(_FACTORIES))}, or return a dict"
        )
        raise TypeError(msg)
    return [names[0] if names else None, dict(value)]


def _defaultdict(plain: Any) -> defaultdict[Any, Any]:
    name, items = plain
    return defaultdict(None if name is None else _FACTORIES[name], only(dict, items))


def _range(plain: Any) -> range:
    return range(*plain)


def _complex(plain: Any) -> complex:
    real, imaginary = plain
    return complex(only(float, real), only(float, imaginary))


def _fraction(plain: Any) -> fractions.Fraction:
    above, below = plain
    return fractions.Fraction(only(int, above), only(int, below))


def _decimal(plain: Any) -> decimal.Decimal:
    return decimal.Decimal(only(str, plain))


def _pattern_plain(value: re.Pattern[Any]) -> list[Any]:
    if value.flags & re.DEBUG:
        msg = "a pattern with re.DEBUG would print at every load: compile it without"
        raise TypeError(msg)
    return [value.pattern, value.flags]


def _pattern(plain: Any) -> re.Pattern[Any]:
    text, flags = plain
    return re.compile(text, only(int, flags) & ~int(re.DEBUG))


def _uuid_plain(value: uuid.UUID) -> Any:
    safe = value.is_safe
    return value.bytes if safe is uuid.SafeUUID.unknown else [value.bytes, safe.value]


def _uuid(plain: Any) -> uuid.UUID:
    data, safe = plain if type(plain) is list else (plain, None)
    return uuid.UUID(bytes=only(bytes, data), is_safe=uuid.SafeUUID(safe))


def _zone_plain(value: zoneinfo.ZoneInfo) -> str:
    if value.key is None:
        msg = "a ZoneInfo without a key: use one that zoneinfo knows by name"
        raise TypeError(msg)
    return value.key


def _datetime_plain(value: dt.datetime) -> list[Any]:
    return [value.replace(tzinfo=None).isoformat(), value.tzinfo, value.fold]


def _datetime(plain: Any) -> dt.datetime:
    text, zone, fold = plain
    return dt.datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold)


def _time_plain(value: dt.time) -> list[Any]:
    return [value.replace(tzinfo=None).isoformat(), value.tzinfo, value.fold]


def _time(plain: Any) -> dt.time:
    text, zone, fold = plain
    return dt.time.fromisoformat(text).replace(tzinfo=zone, fold=fold)


def _timezone_plain(value: dt.timezone) -> list[Any]:
    return list(value.__getinitargs__())  # type: ignore[attr-defined]


def _of_text(tag: str, cls: Any) -> tuple[str, type, Plain, Plain]:
    return tag, cls, str, lambda plain: cls(only(str, plain))


_TABLE: tuple[tuple[str, type, Plain, Plain], ...] = (
    ("int", int, hex, lambda plain: int(plain, 16)),  # Only integers beyond 64 bits get here.
    ("tuple", tuple, list, _tuple),
    ("set", set, list, _set),
    ("frozenset", frozenset, list, _frozenset),
    ("deque", deque, lambda value: [list(value), value.maxlen], _deque),
    ("bytearray", bytearray, bytes, _bytearray),
    ("ordered-dict", OrderedDict, dict, _ordered),
    ("counter", Counter, dict, _counter),
    ("defaultdict", defaultdict, _defaultdict_plain, _defaultdict),
    ("range", range, lambda value: [value.start, value.stop, value.step], _range),
    ("complex", complex, lambda value: [value.real, value.imag], _complex),
    ("fraction", fractions.Fraction, lambda f: [f.numerator, f.denominator], _fraction),
    ("decimal", decimal.Decimal, str, _decimal),
    ("datetime", dt.datetime, _datetime_plain, _datetime),
    ("date", dt.date, dt.date.isoformat, dt.date.fromisoformat),
    ("time", dt.time, _time_plain, _time),
    (
        "timedelta",
        dt.timedelta,
        lambda value: [value.days, value.seconds, value.microseconds],
        lambda plain: dt.timedelta(*plain),
    ),
    ("timezone", dt.timezone, _timezone_plain, lambda plain: dt.timezone(*plain)),
    ("zone", zoneinfo.ZoneInfo, _zone_plain, zoneinfo.ZoneInfo),
    ("uuid", uuid.UUID, _uuid_plain, _uuid),
    ("pattern", re.Pattern, _pattern_plain, _pattern),
    # `Path` is another class on every system: a path comes back as the one of this system.
    ("path", type(pathlib.Path()), str, lambda plain: pathlib.Path(only(str, plain))),
    _of_text("pure-path", pathlib.PurePosixPath),
    _of_text("pure-windows-path", pathlib.PureWindowsPath),
    _of_text("ipv4-address", ipaddress.IPv4Address),
    _of_text("ipv4-interface", ipaddress.IPv4Interface),
    _of_text("ipv4-network", ipaddress.IPv4Network),
    _of_text("ipv6-address", ipaddress.IPv6Address),
    _of_text("ipv6-interface", ipaddress.IPv6Interface),
    _of_text("ipv6-network", ipaddress.IPv6Network),
)

STANDARD = tuple(Form(tag, cls, to, back) for tag, cls, to, back in _TABLE)
