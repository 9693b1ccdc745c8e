"""Whether a value fits a filter and a namespace fits a condition, as in LangGraph's stores."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from orchestrator.store.operations import MatchCondition, Namespace

__all__ = ["fits", "matches"]

_EQUAL: dict[str, Callable[[Any, Any], bool]] = {"$eq": operator.eq, "$ne": operator.ne}
_ORDER: dict[str, Callable[[float, float], bool]] = {
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
}


def fits(value: Mapping[str, Any], wanted: Mapping[str, Any] | None) -> bool:
    """Return whether a stored value holds all that is wanted of it.

    Raises:
        ValueError: if a comparison is unknown, or wants an order of what has none.
    """
    return not wanted or all(_fits(value.get(key), part) for key, part in wanted.items())


def _fits(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, Mapping):
        if any(isinstance(key, str) and key.startswith("$") for key in wanted):
            return all(_compares(value, name, limit) for name, limit in wanted.items())
        return isinstance(value, Mapping) and all(
            _fits(value.get(key), part) for key, part in wanted.items()
        )
    if isinstance(wanted, (list, tuple)):
        return (
            isinstance(value, (list, tuple))
            and len(value) == len(wanted)
            and all(map(_fits, value, wanted))
        )
    return bool(value == wanted)


def _compares(value: Any, name: str, limit: Any) -> bool:
    if name in _EQUAL:
        return _EQUAL[name](value, limit)
    if name not in _ORDER:
        known = ", ".join([*_EQUAL, *_ORDER])
        raise ValueError(f"{name!r} is no comparison of a filter; there are {known}")
    number = _number(value)
    bound = _number(limit)
    if bound is None:
        raise ValueError(f"a filter compares {name} with a number, not with {limit!r}")
    return number is not None and _ORDER[name](number, bound)


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def matches(namespace: Namespace, conditions: Sequence[MatchCondition] | None) -> bool:
    """Return whether a namespace fulfils all conditions.

    Raises:
        ValueError: if a condition is neither about a prefix nor about a suffix.
    """
    return all(_matches(namespace, condition) for condition in conditions or ())


def _matches(namespace: Namespace, condition: MatchCondition) -> bool:
    path, count = condition.path, len(condition.path)
    if condition.match_type == "prefix":
        part = namespace[:count]
    elif condition.match_type == "suffix":
        part = namespace[max(0, len(namespace) - count) :]
    else:
        msg = f"{condition.match_type!r} is no way to match a namespace: 'prefix' or 'suffix'"
        raise ValueError(msg)
    return len(part) == count and all(
        wanted in {"*", label} for label, wanted in zip(part, path, strict=True)
    )
