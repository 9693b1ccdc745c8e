"""Policies of cached results: the digest of a node's input, and how long a result is used."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import hashlib
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from orchestrator import limits


def default_cache_key(*args: Any, **kwargs: Any) -> str:
    """Return a digest of plain data: equal for equal arguments, in every process.

    It depends on values, types and nesting; not on the order of a dict or set. Dataclasses and
    pydantic models count by their class and fields. Nothing is pickled.

    Raises:
        TypeError: if an argument holds anything else; the message holds the path to it.
    """
    digest = hashlib.blake2b(digest_size=16)
    for token in _tokens((args, kwargs)):
        digest.update(token)
    return digest.hexdigest()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CachePolicy:
    """How the results of a node are cached; the names are LangGraph's.

    Attributes:
        key_func: returns, for the node's input, a text or bytes: equal where the result is.
        ttl: seconds a result is used; `None`: for ever.
        name: identifies the code where its module and qualified name do not, as for a function that
            captures a client; another name for other code. Not in LangGraph.
    """

    key_func: Callable[..., str | bytes] = default_cache_key
    ttl: int | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        if self.ttl is not None and self.ttl <= 0:
            raise ValueError(f"ttl must be greater than 0 seconds, or None (ttl={self.ttl})")


# Types whose `repr` is the same in every process.
_BY_REPR = (
    *(type(None), bool, int, float, complex, decimal.Decimal, uuid.UUID),
    *(dt.datetime, dt.date, dt.time, dt.timedelta, dt.timezone),
)

_REMEDY = "give CachePolicy(key_func=…), a function of the node's input"


def _tokens(value: Any, path: str = "input") -> Iterator[bytes]:
    """Yield the tokens of a value: for each part its type, then its bytes or its parts."""
    todo = [(value, path, 0)]
    while todo:
        part, path, depth = todo.pop()
        if depth > limits.VALUE_DEPTH_MAX:
            msg = f"{path[:200]} is nested deeper than {limits.VALUE_DEPTH_MAX} levels"
            raise TypeError(f"{msg}, so it has no default cache key: {_REMEDY}")
        yield _sized(_kind(part))
        leaf = _leaf(part)
        if leaf is not None:
            yield _sized(leaf)
            continue
        children = _children(part, path)
        yield _sized(str(len(children)).encode())
        todo += [(child, step, depth + 1) for child, step in reversed(children)]


def _sized(token: bytes) -> bytes:
    # With its length, so that no two sequences of tokens run into one another.
    return len(token).to_bytes(8, "big") + token


def _kind(part: Any) -> bytes:
    cls = type(part)
    return f"{cls.__module__}.{cls.__qualname__}".encode()


def _leaf(part: Any) -> bytes | None:
    """Return the bytes of a part that has no parts itself."""
    if isinstance(part, enum.Flag):
        return repr(part.value).encode()  # Several have no one name.
    if isinstance(part, enum.Enum):
        return part.name.encode("utf-8", "surrogatepass")
    if type(part) in _BY_REPR:
        return repr(part).encode()
    if isinstance(part, str):
        return part.encode("utf-8", "surrogatepass")
    if isinstance(part, (bytes, bytearray, memoryview)):
        return bytes(part)
    if hasattr(part, "__fspath__"):
        return str(part).encode("utf-8", "surrogatepass")
    return None


def _children(part: Any, path: str) -> list[tuple[Any, str]]:
    """Return the parts of a part, in an order that depends on their values only."""
    if isinstance(part, Mapping):
        pairs = [((key, path), (part[key], f"{path}[{key!r}]")) for key in _ordered(part, path)]
        return [each for pair in pairs for each in pair]
    if isinstance(part, (set, frozenset)):
        return [(item, path) for item in _ordered(part, path)]
    if isinstance(part, (list, tuple, deque)):
        return [(item, f"{path}[{number}]") for number, item in enumerate(part)]
    fields = _fields(part)
    if fields is None:
        msg = f"{path} is a {_kind(part).decode()}, which has no default cache key: {_REMEDY}"
        raise TypeError(msg)
    pairs = [((name, path), (value, f"{path}.{name}")) for name, value in fields.items()]
    return [each for pair in pairs for each in pair]


def _ordered(items: Iterable[Any], path: str) -> list[Any]:
    # By their tokens, because they need not be comparable.
    return sorted(items, key=lambda item: b"".join(_tokens(item, path)))


def _fields(part: Any) -> dict[str, Any] | None:
    cls = type(part)
    if dataclasses.is_dataclass(cls):
        return {field.name: getattr(part, field.name) for field in dataclasses.fields(cls)}
    if isinstance(getattr(cls, "model_fields", None), Mapping):  # pydantic
        extra = getattr(part, "model_extra", None) or {}
        return {**{name: getattr(part, name) for name in cls.model_fields}, **extra}
    if hasattr(part, "tobytes") and hasattr(part, "shape"):  # numpy and its like
        dtype = str(getattr(part, "dtype", ""))
        return {"dtype": dtype, "shape": tuple(part.shape), "bytes": part.tobytes()}
    return None
