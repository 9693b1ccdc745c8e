"""What a caller hears of a run that failed elsewhere."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TypedDict

import pytest

from orchestrator import START, MemoryCheckpointer, StateGraph, StepFailedError
from orchestrator.client.results import failure_of


class State(TypedDict, total=False):
    value: str


class KnownError(Exception):
    """An error whose own code must not run when a record is read."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} and {second}")


def failure(error: BaseException) -> StepFailedError:
    """Return what a later caller hears of a run that failed with an error."""

    def fail(_: State) -> None:
        raise error

    store = MemoryCheckpointer()
    graph = StateGraph(State).add_node("a", fail).add_edge(START, "a").compile(store)
    with pytest.raises(type(error)):
        graph.invoke({"value": "x"}, "t")
    failed = store.load("t")
    assert failed is not None
    found = failure_of("t", failed, graph.records)
    assert isinstance(found, StepFailedError)
    return found


@pytest.mark.parametrize(
    "error", [ValueError("bad"), ConnectionResetError("gone"), KnownError(1, 2)]
)
def test_a_failure_is_raised_from_the_original_where_its_class_is_loaded(error: Exception) -> None:
    cause = failure(error).__cause__
    assert type(cause) is type(error)
    assert str(cause) == str(error)


def test_a_class_that_cannot_be_made_from_a_message_leaves_the_record_alone() -> None:
    found = failure(ExceptionGroup("several", [ValueError("one")]))
    assert found.__cause__ is None
    assert found.record["type"] == "ExceptionGroup"


def test_nothing_is_imported_or_called_for_a_record(monkeypatch: pytest.MonkeyPatch) -> None:
    class GoneError(Exception):
        pass

    looked: list[str] = []
    module = ModuleType("gone_for_ever")
    module.__getattr__ = looked.append  # type: ignore[method-assign]
    GoneError.__module__, GoneError.__qualname__ = module.__name__, "GoneError"
    assert failure(GoneError("x")).__cause__ is None
    assert module.__name__ not in sys.modules
    monkeypatch.setitem(sys.modules, module.__name__, module)
    assert failure(GoneError("x")).__cause__ is None
    assert not looked
    module.GoneError = print  # type: ignore[attr-defined]
    assert failure(GoneError("x")).__cause__ is None
