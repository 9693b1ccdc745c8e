"""How many of the faults a test goes through: a choice at every push, all of them at night."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TypeVar

__all__ = ["chosen"]

_T = TypeVar("_T")

NIGHTLY = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"


def chosen(every: Iterable[_T], few: Iterable[_T]) -> list[_T]:
    """Return `every` case at night, else the `few` that tell most."""
    return list(every if NIGHTLY else few)
