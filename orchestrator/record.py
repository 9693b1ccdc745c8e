"""Records: frozen dataclasses that are cheap to make and to change.

A frozen dataclass sets every field through `object.__setattr__`, which costs more than all the rest
of making one, and a step makes some fifty. So these are frozen for the type checker, which no
change gets past, and plain when the program runs. What users hold in their hands is frozen for
real.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as record
    from dataclasses import replace
else:
    import dataclasses

    _SHAPES: dict[type, tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]]]] = {}

    def record(**options: Any) -> Callable[[type], type]:
        """Do as `dataclasses.dataclass`; frozen as said above."""
        decorate = dataclasses.dataclass(**{**options, "frozen": False, "unsafe_hash": True})

        def decorated(cls: type) -> type:
            made = decorate(cls)
            names = tuple(field.name for field in dataclasses.fields(made))
            _SHAPES[made] = (names, attrgetter(*names, "__class__"))
            return made

        return decorated

    def replace(given: Any, /, **changes: Any) -> Any:
        """Do as `dataclasses.replace`; a record is copied, not made anew."""
        cls = type(given)
        shape = _SHAPES.get(cls)
        if shape is None:
            return dataclasses.replace(given, **changes)
        made = object.__new__(cls)
        for name, value in zip(shape[0], shape[1](given), strict=False):
            setattr(made, name, value)
        for name, value in changes.items():
            setattr(made, name, value)
        return made


__all__ = ["record", "replace"]
