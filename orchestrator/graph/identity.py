"""The identity of the code of a node or task, equal in all processes with the same code.

Rule 1: a class or function that its module holds under its qualified name counts by these names.
Rule 2: any other function (a lambda, a nested one, one of a script) counts also by its bytecode,
        its defaults and the values that it captured.
Rule 3: an object counts by its class and attributes, a compiled graph by its structure and the
        code of its nodes.
Rule 4: code that these rules do not identify is an error, never a guess.
"""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import functools
import hashlib
import re
import sys
import types
import typing
import uuid
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.errors import InvalidGraphError

_PARTS_MAX = 100_000  # Of one identity; an object with more is data, not code.
_WRAPS_MAX = 50
_PYTHON_CLASS = 1 << 9  # A flag of every class that Python code defines, ...
_IMMUTABLE = 1 << 8  # ... and of none of these.
_BY_REPR = (
    *(type(None), type(...), bool, int, float, complex, range, decimal.Decimal, uuid.UUID),
    *(dt.datetime, dt.date, dt.time, dt.timedelta, dt.timezone, re.Pattern),
    *(types.GenericAlias, types.UnionType, typing.TypeVar),
)
_BY_TYPE = frozenset({"lock", "RLock", "Lock", "_local", "local"})  # They do not affect a result.
_CONTAINERS = (dict, list, tuple, set, frozenset, deque)
_Part = tuple[Any, str]


class Unbound(InvalidGraphError):  # noqa: N818 - it is named for what is missing
    """A captured variable has no value yet, so the code cannot be identified."""


def code_of(what: str, *parts: Any) -> str:
    """Return a digest of code and of the values that it depends on.

    Args:
        what: names the code in errors.
        *parts: functions, objects, compiled graphs, plain data.

    Raises:
        InvalidGraphError: if a part cannot be identified; the message holds the path to it.
        Unbound: if a captured variable is not set yet.
    """
    return _Search(what).digest(list(parts))


class _Search:
    """The computation of one identity."""

    def __init__(self, what: str) -> None:
        self.what, self.count = what, 0

    def digest(self, value: Any, path: str = "") -> str:
        digest = hashlib.blake2b(digest_size=16)
        seen: dict[int, tuple[int, Any]] = {}  # By identity: its number, and a hold on it.
        todo: list[_Part] = [(value, path)]
        while todo:
            part, path = todo.pop()
            self.count += 1
            if self.count > _PARTS_MAX:
                raise self.refused(path, f"holds more than {_PARTS_MAX} parts")
            tokens, children = self.read(part, path, seen)
            for token in (*tokens, str(len(children))):
                data = token.encode("utf-8", "surrogatepass") if isinstance(token, str) else token
                digest.update(len(data).to_bytes(8, "big") + data)
            todo += reversed(children)
        return digest.hexdigest()

    def read(
        self, part: Any, path: str, seen: dict[int, tuple[int, Any]]
    ) -> tuple[tuple[str | bytes, ...], list[_Part]]:
        """Return the tokens of a part, and the parts in it."""
        cls = type(part)
        kind = _place(cls)
        if isinstance(part, enum.Enum):
            return (kind, repr(part._value_)), [(cls, path)]
        if isinstance(part, _BY_REPR) or cls.__module__ == "typing":
            return (kind, repr(part)), []
        if cls in {str, bytes, bytearray}:
            return (kind, part if cls is str else bytes(part)), []
        if id(part) in seen:
            return ("again", str(seen[id(part)][0])), []
        seen[id(part)] = len(seen), part
        if isinstance(part, (types.ModuleType, type, types.FunctionType, types.CodeType)):
            return self.defined(part, path)
        children = self.code(part, path)
        return (kind,), self.held(part, path) if children is None else children

    def defined(self, part: Any, path: str) -> tuple[tuple[str | bytes, ...], list[_Part]]:
        """Return the tokens and parts of a module, a class, a function or its code."""
        if isinstance(part, types.ModuleType):
            return ("module", part.__name__), []
        if isinstance(part, types.CodeType):
            consts = [(const, f"{path} constant") for const in part.co_consts]
            return ("code", part.co_code, " ".join(part.co_names)), consts
        place = _place(part)
        if _leads_to(part):
            return ("named", place), []
        if isinstance(part, type):
            members = [(m, f"{path}.{n}") for n, m in sorted(vars(part).items()) if _is_code(m)]
            bases = [(base, path) for base in part.__bases__ if base is not object]
            return ("class", place, _file(part)), members + bases
        names = zip(part.__code__.co_freevars, part.__closure__ or (), strict=False)
        captured = [(self.cell(c, f"{path} {n}"), f"{path} captured {n!r}") for n, c in names]
        defaults = [(part.__defaults__, f"{path} defaults"), (part.__kwdefaults__, path)]
        function = ("function", place, _file(part), part.__code__.co_qualname)
        return function, [(part.__code__, path), *defaults, *captured]

    def cell(self, cell: Any, path: str) -> Any:
        try:
            return cell.cell_contents
        except ValueError:
            msg = (
                f"{self.what} must have code that its results can be kept for, and the variable "
                f"that it captures ({_shown(path)}) has no value yet: set it before"
            )
            raise Unbound(msg) from None

    def code(self, part: Any, path: str) -> list[_Part] | None:
        """Return the parts of a callable that is no plain function; `None`: it is no callable."""
        if isinstance(part, types.MethodType):
            return [(part.__func__, path), (part.__self__, f"{path}.__self__")]
        if isinstance(part, functools.partial):
            held = (part.func, part.args, part.keywords)
            return [(each, f"{path} partial") for each in held]
        if isinstance(part, (staticmethod, classmethod)):
            return [(part.__func__, path)]
        if isinstance(part, property):
            return [(part.fget, path), (part.fset, path)]
        if isinstance(part, (types.BuiltinFunctionType, types.MethodWrapperType)):
            owner = part.__self__
            return [(part.__qualname__, path), (owner, path)]
        if isinstance(part, (types.MethodDescriptorType, types.WrapperDescriptorType)):
            return [(part.__qualname__, path), (part.__objclass__, path)]
        spec = getattr(part, "spec", None)
        if hasattr(part, "invoke") and hasattr(spec, "fingerprint"):
            return [(each, f"{path} graph") for each in _graph_parts(spec)]
        return None

    def held(self, part: Any, path: str) -> list[_Part]:
        """Return the parts of an object or container, in an order of their own."""
        found: list[_Part] = []
        if isinstance(part, Mapping):
            items = [(self.digest(k, path), k, v) for k, v in part.items()]
            for _, key, item in sorted(items, key=lambda each: each[0]):
                found += [(key, path), (item, f"{path}[{key!r:.40}]")]
        elif isinstance(part, (set, frozenset)):
            found += [(each, path) for each in sorted(self.digest(item, path) for item in part)]
        elif isinstance(part, (list, tuple, deque)):
            found += [(item, f"{path}[{n}]") for n, item in enumerate(part)]
        elif hasattr(part, "tobytes") and hasattr(part, "dtype"):  # numpy and its like
            plain = part.tolist() if part.dtype.hasobject else part.tobytes()
            return [(plain, path), (tuple(part.shape), path), (str(part.dtype), path)]
        cls = type(part)
        if cls in _CONTAINERS or cls.__name__ in _BY_TYPE:
            return found
        if _place(cls) == "logging.Logger" or hasattr(part, "__fspath__"):
            return [(str(getattr(part, "name", part)), path), (str(part), path)]
        self.check_class(part, path)
        attributes = dict(_attributes(part))
        found.append((cls, path))
        return found + [(item, f"{path}.{name}") for name, item in sorted(attributes.items())]

    def check_class(self, part: Any, path: str) -> None:
        """Refuse an object that may have parts which Python code cannot read."""
        for base in type(part).__mro__:
            if base is object or base in _CONTAINERS or base.__module__ == "typing":
                continue
            if not base.__flags__ & _PYTHON_CLASS or base.__flags__ & _IMMUTABLE:
                raise self.refused(path, f"is a {_place(type(part))}")

    def refused(self, path: str, why: str) -> InvalidGraphError:
        where = _shown(path)[:200] or "its function"
        msg = (
            f"{self.what} must have code that can be identified, so that its results can be cached "
            f"({where} {why}): name it, CachePolicy(name=…), or define it in a module"
        )
        return InvalidGraphError(msg)


def _shown(path: str) -> str:
    return path.removeprefix("[0]").strip()  # The first of the parts is the code itself.


def _place(part: Any) -> str:
    return f"{part.__module__}.{part.__qualname__}"


def _file(part: Any) -> str:
    """Return the file of a script: each script is the module `__main__`."""
    if part.__module__ != "__main__":
        return ""
    return str(getattr(sys.modules.get("__main__"), "__file__", ""))


def _leads_to(part: Any) -> bool:
    """Return whether a module holds this class or function under its qualified name."""
    if part.__module__ == "__main__":
        return False
    found: Any = sys.modules.get(part.__module__)
    for name in part.__qualname__.split("."):
        found = vars(found).get(name) if hasattr(found, "__dict__") else None
    for _ in range(_WRAPS_MAX):
        if found is part:
            return True
        found = getattr(found, "__func__", None) or getattr(found, "__wrapped__", None)
    return False


def _is_code(member: Any) -> bool:
    return isinstance(member, (types.FunctionType, staticmethod, classmethod, property, type))


def _attributes(part: Any) -> Iterator[tuple[str, Any]]:
    """Yield the attributes of an object, without its cached properties."""
    cached = {
        name
        for base in type(part).__mro__
        for name, member in vars(base).items()
        if isinstance(member, functools.cached_property)
    }
    yield from ((n, v) for n, v in getattr(part, "__dict__", {}).items() if n not in cached)
    for base in type(part).__mro__:
        for name, slot in vars(base).items():
            if isinstance(slot, types.MemberDescriptorType):
                try:
                    yield name, slot.__get__(part)
                except AttributeError:
                    continue


def _graph_parts(spec: Any) -> list[Any]:
    nodes = [
        [name, node.action, node.subgraph, [branch.path for branch in node.branches]]
        for name, node in sorted(spec.nodes.items())
    ]
    return [spec.name, spec.fingerprint, nodes]
