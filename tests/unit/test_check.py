"""Stored threads are looked at with new code before it is deployed."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, TypedDict

import pydantic
import pytest

from orchestrator import START, MemoryCheckpointer, RedisCheckpointer, StateGraph, interrupt
from orchestrator.cli import main
from orchestrator.client.diagnosis import check_threads
from orchestrator.config import Settings


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]


class Strict(pydantic.BaseModel):
    log: Annotated[list[str], operator.add] = []
    needed: int


def ask(state: Any) -> Any:
    return {"log": [interrupt("sure?")]}


def builder(name: str = "ask", schema: Any = State, **options: Any) -> StateGraph:
    return StateGraph(schema, **options).add_node(name, ask).add_edge(START, name)


graph = builder().add_edge("ask", "end").add_node("end", lambda _: {}).compile(name="g")


def begun(store: Any = None) -> Any:
    store = store or MemoryCheckpointer()
    builder().compile(store, name="g").invoke({"log": ["in"]}, "waits")
    return store


def codes(store: Any, made: Any) -> list[str]:
    graphs = {"g": made.compile(name="g")} if made is not None else {}
    found = check_threads(store, graphs, limit=10)
    return [trouble.code if trouble else "" for trouble in found]


def test_code_that_is_as_it_was_is_well() -> None:
    assert codes(begun(), builder()) == [""]


@pytest.mark.parametrize(
    ("made", "code"),
    [
        (lambda: builder("other", state_version=2), "WOULD_STALL"),
        (lambda: builder("other"), "WOULD_STALL"),
        (lambda: builder(state_version=2).migrate(1, lambda s: s["no"]), "MIGRATION_FAILS"),
        (lambda: builder(schema=Strict, state_version=2), "DOES_NOT_FIT"),
        (lambda: None, "UNKNOWN_GRAPH"),
        (lambda: builder("other", state_version=2).rename("ask", "other"), ""),
    ],
)
def test_what_would_not_go_on_is_told(made: Callable[[], Any], code: str) -> None:
    store = begun()
    before = store.load("waits")
    assert codes(store, made()) == [code]
    assert replace(store.load("waits"), now_ms=0) == replace(before, now_ms=0)


def test_damage_is_told() -> None:
    store = begun()
    thread = store._threads["waits"]
    newest = max(thread.checkpoints)
    thread.checkpoints[newest] = replace(thread.checkpoints[newest], header=b"rot")
    assert codes(store, builder()) == ["DAMAGED"]


@pytest.mark.server
def test_the_command_lists_troubles_and_fails(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = RedisCheckpointer(settings=settings)
    begun(store)
    store.close()
    monkeypatch.setenv("GRAPHSTALK_NAMESPACE", settings.namespace)
    own = ["check", "--url", settings.url, "--json", "--graphs"]
    assert main([*own, "g=tests.unit.test_check:graph"]) == 1
    trouble, summary = map(json.loads, capsys.readouterr().out.splitlines())
    assert (trouble["thread_id"], trouble["code"]) == ("waits", "WOULD_STALL")
    assert summary == {"threads": 1, "troubles": 1}
