"""Why a value cannot be stored, with the path to the first part of it that cannot."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from orchestrator import limits
from orchestrator.serde.classes import has_class_form
from orchestrator.serde.foreign import text_of
from orchestrator.serde.forms import Form
from orchestrator.serde.registry import NATIVE

__all__ = ["explain"]

_LANGGRAPH = "langgraph.types"
_OWN = {"Command", "Interrupt", "Overwrite", "Send"}  # Those have a counterpart here.
_SCALARS = NATIVE - {list, dict}


def explain(value: Any, form_of: Callable[[type], Form | None], error: Exception) -> str:
    """Return why `value` cannot be encoded: the path to the part, its type, and what to do.

    Args:
        value: what was to be stored.
        form_of: tells how the instances of a type are stored, if they can be.
        error: what went wrong, for when no part of the value tells.
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
            except Exception as reason:  # noqa: BLE001 - whatever it is, it is why
                return f"{path} cannot be stored: {type(reason).__name__}: {reason}"
            if form.parts is not None or not children:
                children = inside
        todo += [(child, path + step, depth + 1) for step, child in reversed(children)]
    return f"the value cannot be stored: {type(error).__name__}: {error}"


def _remedy(cls: type, form_of: Callable[[type], Form | None]) -> str:
    if cls.__module__ == _LANGGRAPH and cls.__name__ in _OWN:
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
