"""What a stored type is: its tag, and the way to plain data and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Form", "Plain", "only"]

Plain = Callable[[Any], Any]  # From a value to its plain form, or from the plain form back.


@dataclass(frozen=True, slots=True)
class Form:
    """How values of one type are stored.

    Attributes:
        tag: what stands for the type in stored bytes; it never changes, unlike a class's place.
        cls: the type, exactly: an instance of a subclass has another form or none.
        to_plain: returns data of which every part can be stored.
        from_plain: makes the value again; it may raise whatever it likes about damaged data.
        parts: the places inside a value and what is there, to say where something is wrong.
    """

    tag: str
    cls: type
    to_plain: Plain
    from_plain: Plain
    parts: Callable[[Any], list[tuple[str, Any]]] | None = None


def only(kind: type, plain: Any) -> Any:
    """Return `plain`; damaged data may hold another type, which could cost any time or memory.

    Raises:
        TypeError: if it is not of exactly this type.
    """
    if type(plain) is not kind:
        msg = f"expected a stored {kind.__name__}, found a {type(plain).__name__}"
        raise TypeError(msg)
    return plain
