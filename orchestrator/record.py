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

    _RECORDS: set[type] = set()

    def record(**options: Any) -> Callable[[type], type]:
        """Do as `dataclasses.dataclass`; frozen as said above, and never with slots."""
        changed = {"frozen": False, "slots": False, "unsafe_hash": True}
        decorate = dataclasses.dataclass(**{**options, **changed})

        def decorated(cls: type) -> type:
            made = decorate(cls)
            _RECORDS.add(made)
            return made

        return decorated

    def replace(given: Any, /, **changes: Any) -> Any:
        """Do as `dataclasses.replace`; a record is copied in one go, not made anew."""
        cls = type(given)
        if cls not in _RECORDS:
            return dataclasses.replace(given, **changes)
        made = object.__new__(cls)
        made.__dict__ = given.__dict__ | changes
        return made


__all__ = ["record", "replace"]
