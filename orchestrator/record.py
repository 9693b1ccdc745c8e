"""Records: frozen dataclasses that are cheap to make and to change.

A frozen dataclass sets every field through `object.__setattr__`, which costs more than all the rest
of making one, and a step makes some fifty. So these are frozen for the type checker, which no
change gets past, and plain when the program runs. What users hold in their hands is frozen for
real.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as record
    from dataclasses import replace
else:
    import dataclasses

    _COPIERS: dict[type, Callable[[Any], Any]] = {}

    def record(**options: Any) -> Callable[[type], type]:
        """Do as `dataclasses.dataclass`; frozen as said above."""
        decorate = dataclasses.dataclass(**{**options, "frozen": False, "unsafe_hash": True})

        def decorated(cls: type) -> type:
            made = decorate(cls)
            _COPIERS[made] = _copier(made)
            return made

        return decorated

    def _copier(cls: type) -> Callable[[Any], Any]:
        """Write the function that copies a record, as `dataclasses` writes `__init__`."""
        names = [field.name for field in dataclasses.fields(cls)]
        lines = ["made = new(cls)", *(f"made.{n} = given.{n}" for n in names), "return made"]
        made: dict[str, Any] = {}
        exec("def copy(given):\n " + "\n ".join(lines), {"new": object.__new__, "cls": cls}, made)  # noqa: S102 - names of fields in this package
        return made["copy"]

    def replace(given: Any, /, **changes: Any) -> Any:
        """Do as `dataclasses.replace`; a record is copied, not made anew."""
        copy = _COPIERS.get(type(given))
        if copy is None:
            return dataclasses.replace(given, **changes)
        made = copy(given)
        for name, value in changes.items():
            setattr(made, name, value)
        return made


__all__ = ["record", "replace"]
