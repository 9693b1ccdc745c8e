"""Whatever a call of either library gives, as plain data without what differs by library.

Ids are compared in pairs: where one of ours was met in the place of one of theirs, it must be at
every other place. Times become a mark. Nothing else is left out: the type of a
container, the keys of a config and of its metadata, and every field of a record are compared.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any

import langgraph.errors
from pydantic import BaseModel

_ID = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|(?<![0-9a-f])(?:[0-9a-f]{32}|[0-9a-f]{16})(?![0-9a-f])"
)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?\+00:00")
_LIBRARIES = ("orchestrator", "langgraph")
_OURS_ONLY = {"Interrupt": {"key"}}  # Fields that only this project has.
ABSENT = "<absent>"

Difference = tuple[str, Any, Any]  # A path, what is there in ours, and in theirs.


@dataclasses.dataclass
class Pairs:
    """Which id of ours stands for which of theirs, as far as it was seen."""

    theirs: dict[str, str] = dataclasses.field(default_factory=dict)
    ours: dict[str, str] = dataclasses.field(default_factory=dict)

    def same(self, ours: str, theirs: str) -> bool:
        """Return whether two texts are the same but for ids, which are the same throughout."""
        if without_ids(ours) != without_ids(theirs):
            return False
        found = zip(_ID.findall(ours), _ID.findall(theirs), strict=True)
        same = [self._paired(mine, their) for mine, their in found]  # All are noted.
        return all(same)

    def _paired(self, mine: str, their: str) -> bool:
        return (
            self.theirs.setdefault(mine, their) == their
            and self.ours.setdefault(their, mine) == mine
        )


def without_ids(text: str) -> str:
    """Return a text with a mark in the place of each id."""
    return _ID.sub("<id>", text)


class Plain:
    """Makes values plain data."""

    def plain(self, value: Any) -> Any:
        """Return a value as plain data."""
        if isinstance(value, str):
            return _TIME.sub("<time>", value)
        if isinstance(value, BaseException):
            return error_of(value)
        if isinstance(value, BaseModel):
            return {"<class>": type(value).__name__, **self._fields(dict(value))}
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
            return self._record(value, fields)
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return self._record(value, value._asdict())
        if isinstance(value, Mapping):
            return self._fields(value)
        if isinstance(value, (list, tuple)):
            items = [self.plain(held) for held in value]
            return items if isinstance(value, list) else tuple(items)
        if isinstance(value, (set, frozenset)):
            return sorted(map(str, value))
        if isinstance(value, (int, float, bytes, type(None))):
            return value
        return f"<{type(value).__name__}>"

    def _record(self, value: Any, fields: dict[str, Any]) -> dict[str, Any]:
        cls = type(value)
        if cls.__name__ in {"PregelTask", "StepError"} and fields.get("error") is not None:
            fields["error"] = True  # D15: a text there, a record here.
        for name in _OURS_ONLY.get(cls.__name__, ()):
            fields.pop(name, None)
        return {"<class>": cls.__name__, **self._fields(fields)}

    def _fields(self, value: Mapping[Any, Any]) -> dict[str, Any]:
        in_order = sorted(value.items(), key=lambda item: _before(item[0]))
        return {without_ids(str(key)): self.plain(held) for key, held in in_order}


def _before(key: object) -> tuple[bool, str]:
    """Return the order in which fields are read: those that hold ids of other fields come last."""
    return key in {"parent_config", "checkpoint_map", "parents"}, str(key)


def error_of(error: BaseException) -> str:
    """Return an error by the name of the first of its classes that both libraries know."""
    known = (cls for cls in type(error).__mro__ if not _is_ours_only(cls))
    return f"<error {next(known).__name__}>"


def _is_ours_only(cls: type) -> bool:
    return cls.__module__.startswith("orchestrator") and not hasattr(langgraph.errors, cls.__name__)


def differences(ours: Any, theirs: Any, pairs: Pairs, path: str = "") -> Iterator[Difference]:
    """Return where two plain values differ, the deepest places."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in [*ours, *(key for key in theirs if key not in ours)]:
            mine, their = ours.get(key, ABSENT), theirs.get(key, ABSENT)
            yield from differences(mine, their, pairs, f"{path}.{key}")
    elif (
        type(ours) is type(theirs) and isinstance(ours, (list, tuple)) and len(ours) == len(theirs)
    ):
        for index, (mine, their) in enumerate(zip(ours, theirs, strict=True)):
            yield from differences(mine, their, pairs, f"{path}[{index}]")
    elif isinstance(ours, str) and isinstance(theirs, str):
        if not pairs.same(ours, theirs):
            yield path, ours, theirs
    elif type(ours) is not type(theirs) or ours != theirs:
        yield path, ours, theirs
