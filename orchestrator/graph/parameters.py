"""The type parameters of graphs, for type checkers: `StateGraph[S]`, `CompiledStateGraph[S]`.

They mean nothing at run time, where a class takes any number of them. The order and the defaults
are LangGraph's: what is not named is the state, or `Any`.
"""

from __future__ import annotations

from types import GenericAlias
from typing import TYPE_CHECKING, Any, Generic

if TYPE_CHECKING:
    from typing_extensions import TypeVar  # It has defaults on every supported Python.

    StateT = TypeVar("StateT", default=Any)
    ContextT = TypeVar("ContextT", default=Any)
    InputT = TypeVar("InputT", default=StateT)
    OutputT = TypeVar("OutputT", default=StateT)

    class OfState(Generic[StateT, ContextT, InputT, OutputT]):
        """What has the type parameters of a graph."""

else:
    from typing import TypeVar

    StateT, ContextT = TypeVar("StateT"), TypeVar("ContextT")
    InputT, OutputT = TypeVar("InputT"), TypeVar("OutputT")

    class OfState:
        """What has the type parameters of a graph."""

        def __class_getitem__(cls, parameters: Any) -> GenericAlias:
            """Return the class with parameters, to be called or inherited from as itself."""
            return GenericAlias(cls, parameters)


__all__ = ["ContextT", "InputT", "OfState", "OutputT", "StateT"]
