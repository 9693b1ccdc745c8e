"""Every checkpointer can be read, pruned and deleted from as LangGraph's savers."""

from __future__ import annotations

import asyncio
import operator
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.checkpoint.memory import InMemorySaver as TheirSaver
from langgraph.graph import StateGraph as TheirGraph
from langgraph.types import Command as TheirCommand
from langgraph.types import interrupt as their_interrupt

from orchestrator import (
    START,
    BaseCheckpointSaver,
    Command,
    InMemorySaver,
    InvalidThreadIdError,
    NotSupportedError,
    RedisSaver,
    SqliteSaver,
    StateCorruptedError,
    StateGraph,
    StateSnapshot,
    ThreadBusyError,
    UnknownThreadError,
    interrupt,
)
from orchestrator.client.options import ConfigError

THREAD = {"configurable": {"thread_id": "t"}}
BEFORE = ["in", "first", "in", "first", "look"]  # The subgraph's list is added to the one around.


class State(TypedDict, total=False):
    seen: Annotated[list[str], operator.add]
    note: str


@pytest.fixture(
    params=["memory", "sqlite", pytest.param("redis", marks=[pytest.mark.server, pytest.mark.slow])]
)
def saver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    if request.param == "memory":
        made: Any = InMemorySaver()
    elif request.param == "sqlite":
        made = SqliteSaver(tmp_path / "threads.db")
    else:
        made = RedisSaver(settings=request.getfixturevalue("settings"))
    with made:
        yield made


def built(graph_type: type, ask: Any) -> Any:
    inner = graph_type(State)
    inner.add_node("look", lambda state: {"seen": ["look"]})
    inner.add_edge(START, "look")
    builder = graph_type(State)
    builder.add_node("first", lambda state: {"seen": ["first"], "note": "n"})
    builder.add_node("inner", inner.compile())
    builder.add_node("ask", lambda state: {"seen": [ask("sure?")]})
    builder.add_edge(START, "first")
    builder.add_edge("first", "inner")
    builder.add_edge("inner", "ask")
    return builder


def asked(saver: Any) -> Any:
    """Return a graph whose thread `t` asks its question."""
    graph = built(StateGraph, interrupt).compile(saver)
    graph.invoke({"seen": ["in"]}, {**THREAD, "metadata": {"who": "me"}})
    return graph


def told(found: Any) -> list[Any]:
    """Return of checkpoints what does not depend on ids and times."""
    return [
        (
            each.config["configurable"]["checkpoint_ns"].partition(":")[0],
            each.metadata["source"],
            each.metadata["step"],
            each.metadata["who"],
            each.parent_config is None,
            {k: v for k, v in each.checkpoint["channel_values"].items() if k != START},
            sorted(each.checkpoint["updated_channels"] or ()),
            [
                (name, [i.value for i in value] if name == "__interrupt__" else value)
                for _, name, value in each.pending_writes
            ],
        )
        for each in found
    ]


def test_it_reads_as_langgraphs_saver(saver: Any) -> None:
    asked(saver)
    theirs = TheirSaver()
    graph = built(TheirGraph, their_interrupt).compile(theirs)
    graph.invoke({"seen": ["in"]}, {**THREAD, "metadata": {"who": "me"}})
    root = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
    assert told(saver.list(root)) == told(theirs.list(root))
    everything = [set(map(str, told(each.list(THREAD)))) for each in (saver, theirs)]
    assert len(everything[0]) == 7
    assert everything[0] == everything[1]
    mine, other = saver.get_tuple(THREAD), theirs.get_tuple(THREAD)
    assert set(mine.checkpoint) == set(other.checkpoint)
    assert mine.checkpoint["v"] == other.checkpoint["v"]
    assert set(mine.checkpoint["channel_versions"]) == set(other.checkpoint["channel_versions"])


def seen_by_nodes(found: Any) -> list[Any]:
    """Return what checkpoints say of versions: which channels have one, and who saw which."""
    return sorted(
        (
            each.config["configurable"]["checkpoint_ns"].partition(":")[0],
            each.metadata["step"],
            sorted(each.checkpoint["channel_versions"]),
            sorted((k, sorted(v)) for k, v in each.checkpoint["versions_seen"].items()),
        )
        for each in found
    )


def test_versions_are_those_of_langgraphs_saver_at_any_depth(saver: Any) -> None:
    graphs = (
        asked(saver),
        built(TheirGraph, their_interrupt).compile(TheirSaver()),
    )
    graphs[1].invoke({"seen": ["in"]}, {**THREAD, "metadata": {"who": "me"}})
    graphs[0].invoke(Command(resume="yes"), THREAD)
    graphs[1].invoke(TheirCommand(resume="yes"), THREAD)
    for graph in graphs:
        graph.invoke({"seen": ["again"]}, THREAD)
        graph.update_state(THREAD, {"note": "n"}, as_node="first")
    mine, theirs = (seen_by_nodes(graph.checkpointer.list(THREAD)) for graph in graphs)
    assert len(mine) == 16
    assert mine == theirs
    latest = saver.get(THREAD)["versions_seen"]
    assert set(latest["__interrupt__"]) >= {"seen", "branch:to:ask", "__start__"}


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_a_step_that_failed_first_is_shown_with_its_error(saver: Any, durability: str) -> None:
    fails = [ValueError("not now")]

    def node(state: State) -> dict[str, Any]:
        if fails:
            raise fails.pop()
        return {"note": "later"}

    builder = StateGraph(State).add_node("node", node).add_edge(START, "node")
    graph = builder.compile(saver)
    with pytest.raises(ValueError, match="not now"):
        graph.invoke({"seen": []}, "t", durability=durability)
    graph.invoke(None, "t", durability=durability)
    ended, before, *_ = saver.list("t")
    assert ("__error__", "ValueError('not now')") in [w[1:] for w in before.pending_writes]
    versions, seen = before.checkpoint["channel_versions"], ended.checkpoint["versions_seen"]
    assert seen["__interrupt__"] == versions
    assert seen["__start__"]["__start__"] < versions["__start__"]
    assert seen["node"] == {"branch:to:node": versions["branch:to:node"]}
    assert versions["branch:to:node"] < ended.checkpoint["channel_versions"]["branch:to:node"]


def test_of_deleted_ancestors_versions_are_not_known(saver: Any) -> None:
    asked(saver)
    whole = saver.get("t")
    saver.prune(["t"])
    vars(saver).pop("_facts")  # As another process shows it.
    cut = saver.get("t")
    assert cut["channel_versions"].items() < whole["channel_versions"].items()
    assert set(whole["channel_versions"]) - set(cut["channel_versions"]) == {
        *("__start__", "branch:to:first", "branch:to:inner"),
    }


def test_a_tuple_is_the_checkpoint_that_the_graph_shows(saver: Any) -> None:
    graph = asked(saver)
    found, shot = saver.get_tuple(THREAD), graph.get_state(THREAD)
    assert (found.config, found.parent_config) == (shot.config, shot.parent_config)
    assert (found.metadata, found.checkpoint["ts"]) == (shot.metadata, shot.created_at)
    assert found.checkpoint["id"] == shot.config["configurable"]["checkpoint_id"]
    assert saver.get(THREAD) == found.checkpoint
    before = saver.get_tuple(found.parent_config)
    assert before.config == found.parent_config
    assert saver.get_tuple("nobody") is None
    assert saver.get("nobody") is None
    versions = found.checkpoint["channel_versions"]
    assert versions["seen"] > before.checkpoint["channel_versions"]["seen"]


def test_a_list_can_be_filtered_and_cut(saver: Any) -> None:
    graph = asked(saver)
    root = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
    every = list(saver.list(root))
    assert [each.config for each in every] == [s.config for s in graph.get_state_history("t")]
    assert list(saver.list(root, limit=2)) == every[:2]
    assert list(saver.list(root, limit=0)) == []
    assert list(saver.list(root, before=every[1].config)) == every[2:]
    assert list(saver.list(root, filter={"step": 0})) == [
        e for e in every if e.metadata["step"] == 0
    ]
    assert list(saver.list(root, filter={"step": 0, "who": "you"})) == []
    assert list(saver.list(every[2].config)) == [every[2]]
    graph.invoke({"seen": []}, {"configurable": {"thread_id": "u"}, "metadata": {"who": "me"}})
    threads = {each.config["configurable"]["thread_id"] for each in saver.list(None)}
    assert threads == {"t", "u"}


def test_a_subgraphs_checkpoints_are_read_by_their_namespace(saver: Any) -> None:
    asked(saver)
    inner = [e for e in saver.list(THREAD) if e.config["configurable"]["checkpoint_ns"]]
    ns = inner[0].config["configurable"]["checkpoint_ns"]
    where = {"configurable": {"thread_id": "t", "checkpoint_ns": ns}}
    assert list(saver.list(where)) == inner
    assert saver.get_tuple(where) == inner[0]
    assert saver.get_tuple(where).checkpoint["channel_values"]["seen"] == ["in", "first", "look"]


def test_the_asynchronous_twins_read_the_same(saver: Any) -> None:
    async def calls() -> None:
        asked(saver)
        assert await saver.aget_tuple(THREAD) == saver.get_tuple(THREAD)
        assert await saver.aget(THREAD) == saver.get(THREAD)
        assert [each async for each in saver.alist(THREAD, limit=3)] == list(
            saver.list(THREAD, limit=3)
        )
        await saver.aprune(["t"])
        assert len(list(saver.list(THREAD))) == 2
        await saver.adelete_thread("t")
        assert await saver.aget_tuple(THREAD) is None

    asyncio.run(calls())


def test_a_failed_step_is_a_pending_write(saver: Any) -> None:
    def fails(state: State) -> None:
        raise ValueError("not now")

    builder = StateGraph(State).add_node("good", lambda state: {"note": "x"}).add_node("bad", fails)
    graph = builder.add_edge(START, "good").add_edge(START, "bad").compile(saver)
    with pytest.raises(ValueError, match="not now"):
        graph.invoke({"seen": []}, "t")
    writes = [(name, value) for _, name, value in saver.get_tuple("t").pending_writes]
    assert sorted(writes) == [("__error__", "ValueError('not now')"), ("note", "x")]
    assert saver.get_tuple("t").checkpoint["channel_values"].get("note") is None


# ---- types -------------------------------------------------------------------------------------


@dataclass
class Made:
    number: int


class Typed(TypedDict, total=False):
    made: Made


def test_values_have_the_types_that_a_graph_names(tmp_path: Path) -> None:
    path = tmp_path / "threads.db"
    builder = StateGraph(Typed).add_node("make", lambda state: {"made": Made(1)})
    builder.add_edge(START, "make")
    with SqliteSaver(path) as saver:
        builder.compile(saver).invoke({}, "t")
        assert saver.get("t")["channel_values"] == {"made": Made(1)}
    with SqliteSaver(path) as stranger:  # It has never been given a graph.
        plain = stranger.get("t")["channel_values"]["made"]
        assert not isinstance(plain, Made)
        assert "1" in repr(plain)
        assert stranger.get_tuple("t").metadata["step"] == 1


def test_damage_is_a_clear_error_at_the_head_and_shown_in_history() -> None:
    saver = InMemorySaver()
    asked(saver)
    first = list(saver.list(THREAD))[-1].config
    thread = saver._threads["t"]
    for id_, stored in thread.checkpoints.items():
        if id_ in {min(thread.checkpoints), max(thread.checkpoints)}:
            object.__setattr__(stored, "header", b"what a disk may do")
    assert saver.get_tuple(first).metadata["source"] == "damaged"
    assert saver.get_tuple(first).checkpoint["channel_values"] == {}
    with pytest.raises(StateCorruptedError, match="header"):
        saver.get_tuple(THREAD)


# ---- deleting ------------------------------------------------------------------------------------


def test_a_deleted_thread_is_new_again(saver: Any) -> None:
    graph = asked(saver)
    saver.delete_thread("t")
    assert saver.get_tuple(THREAD) is None
    assert list(saver.list(THREAD)) == list(graph.get_state_history(THREAD)) == []
    assert graph.get_state(THREAD).values == {}
    saver.delete_thread("t")
    graph.invoke({"seen": ["again"]}, THREAD)
    assert graph.get_state(THREAD).values["seen"] == ["again", "first", "again", "first", "look"]


def test_a_busy_thread_is_not_deleted(saver: Any) -> None:
    began, go_on = threading.Event(), threading.Event()

    def waits(state: State) -> State:
        began.set()
        assert go_on.wait(30)
        return {"note": "done"}

    graph = StateGraph(State).add_node("waits", waits).add_edge(START, "waits").compile(saver)
    run = threading.Thread(target=lambda: graph.invoke({"seen": []}, "t"))
    run.start()
    try:
        assert began.wait(30)
        with pytest.raises(ThreadBusyError, match="cancel it"):
            saver.delete_thread("t")
        with pytest.raises(ThreadBusyError):
            saver.prune(["t"])
    finally:
        go_on.set()
        run.join()
    assert graph.get_state("t").values["note"] == "done"
    saver.delete_thread("t")


def test_pruning_keeps_the_latest_of_each_namespace_and_the_question(saver: Any) -> None:
    graph = asked(saver)
    before: StateSnapshot = graph.get_state(THREAD)
    namespaces = {each.config["configurable"]["checkpoint_ns"] for each in saver.list(THREAD)}
    saver.prune(["t", "nobody"])
    left = list(saver.list(THREAD))
    assert {each.config["configurable"]["checkpoint_ns"] for each in left} == namespaces
    assert len(left) == len(namespaces) == 2
    assert graph.get_state(THREAD) == before
    output = graph.invoke(Command(resume="yes"), THREAD)
    assert output["seen"] == [*BEFORE, "yes"]


def test_pruning_with_delete_deletes(saver: Any) -> None:
    asked(saver)
    saver.prune(["nobody", "t"], strategy="delete")
    assert list(saver.list(None)) == []
    with pytest.raises(ConfigError, match="keep_latest"):
        saver.prune(["t"], strategy="keep_two")
    with pytest.raises(ConfigError, match="list"):
        saver.prune("t")
    with pytest.raises(InvalidThreadIdError):
        saver.delete_thread("")


def test_a_fork_keeps_what_it_shared_with_a_deleted_thread(saver: Any) -> None:
    graph = asked(saver)
    forked = graph.fork(THREAD, "u")
    saver.prune(["t"])
    saver.delete_thread("t")
    assert graph.get_state(forked).values["seen"] == BEFORE
    graph.invoke(None, "u")
    assert graph.invoke(Command(resume="ok"), "u")["seen"][-1] == "ok"


# ---- copying -----------------------------------------------------------------------------------


def test_a_copy_has_the_same_checkpoints_and_goes_its_own_way(
    saver: Any, small_tails: None
) -> None:
    graph = asked(saver)
    graph.invoke(Command(resume="yes"), THREAD)
    saver.copy_thread("t", "u")

    def shown(thread_id: str) -> list[Any]:
        found = saver.list({"configurable": {"thread_id": thread_id}})
        return [(each.checkpoint, each.metadata, each.pending_writes) for each in found]

    assert shown("u") == shown("t")
    assert len(shown("u")) > 5
    mine, copy = (graph.get_state(thread) for thread in ("t", "u"))
    assert (mine.values, mine.next, mine.metadata) == (copy.values, copy.next, copy.metadata)
    graph.update_state("u", {"seen": ["more"]}, as_node="first")
    assert graph.get_state("t").values == mine.values
    saver.delete_thread("t")
    assert graph.invoke(None, "u")["seen"][-1] != "more"
    history = list(graph.get_state_history("u"))
    replayed = graph.invoke(None, history[-1].config)
    assert replayed["seen"] == BEFORE


def test_a_copy_of_a_failed_thread_can_be_resumed(saver: Any) -> None:
    broken = [True]

    def fails(state: State) -> State:
        if broken:
            raise ValueError("not now")
        return {"seen": ["late"]}

    builder = StateGraph(State).add_node("good", lambda state: {"seen": ["good"]})
    builder.add_node("fails", fails).add_edge(START, "good").add_edge(START, "fails")
    graph = builder.compile(saver)
    with pytest.raises(ValueError, match="not now"):
        graph.invoke({"seen": ["in"]}, "t")
    saver.copy_thread("t", "u")
    broken.clear()
    assert graph.invoke(None, "u")["seen"] == ["in", "late", "good"]
    assert graph.get_state("t").next == ("fails",)


def test_what_belongs_to_its_thread_is_not_copied(saver: Any) -> None:
    graph = asked(saver)
    with pytest.raises(NotSupportedError, match=r"graph\.fork"):
        saver.copy_thread("t", "u")
    assert saver.get_tuple("u") is None
    with pytest.raises(UnknownThreadError):
        saver.copy_thread("nobody", "u")
    graph.invoke(Command(resume="yes"), THREAD)
    saver.copy_thread("t", "u")
    with pytest.raises(ConfigError, match="exists"):
        saver.copy_thread("t", "u")


# ---- what is refused ---------------------------------------------------------------------------


def test_what_would_write_is_refused_and_names_the_remedy(saver: Any) -> None:
    async def calls() -> None:
        checkpoint = {"v": 4, "id": "x", "channel_values": {}}
        with pytest.raises(NotSupportedError, match="update_state") as caught:
            saver.put(THREAD, checkpoint, {}, {})
        assert caught.value.code == "NOT_SUPPORTED"
        assert isinstance(caught.value, NotImplementedError)
        with pytest.raises(NotSupportedError, match="update_state"):
            saver.put_writes(THREAD, [("seen", "x")], "task")
        with pytest.raises(NotSupportedError, match="update_state"):
            await saver.aput(THREAD, checkpoint, {}, {})
        with pytest.raises(NotSupportedError, match="update_state"):
            await saver.aput_writes(THREAD, [("seen", "x")], "task", "path")
        with pytest.raises(NotSupportedError, match="prune"):
            saver.delete_for_runs(["run"])
        with pytest.raises(NotSupportedError, match="prune"):
            await saver.adelete_for_runs(["run"])
        assert list(saver.list(None)) == []

    asyncio.run(calls())


def test_a_serializer_or_a_connection_is_refused(tmp_path: Path) -> None:
    serde: Any = TheirSaver().serde
    for make in (
        lambda: InMemorySaver(serde=serde),
        lambda: SqliteSaver(tmp_path / "x", serde=serde),
        lambda: RedisSaver("redis://nowhere", serde=serde),
    ):
        with pytest.raises(NotSupportedError, match="register_type"):
            make()
    assert not (tmp_path / "x").exists()
    with pytest.raises(NotSupportedError, match="path"):
        SqliteSaver(object())  # type: ignore[arg-type]


def test_every_checkpointer_is_a_saver(saver: Any) -> None:
    assert isinstance(saver, BaseCheckpointSaver)
    assert saver.setup() is None
