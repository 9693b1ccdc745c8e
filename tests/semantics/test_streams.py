"""Streams at every place: each part has a cursor, and what cannot be read is a part, too."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import Any

import pytest
import redis

from orchestrator import Client, Command, OptionError, StreamGapError
from orchestrator.client.log_reader import Follower, StreamPart, parts_of_log
from orchestrator.client.options import MODES
from orchestrator.client.projection import Projection, Unseen
from orchestrator.client.stream import known_by
from tests.semantics.places import Place, apart


def read(
    place: Place, graph: Any, after: int = 0, modes: tuple[str, ...] = MODES
) -> list[StreamPart]:
    """Return the parts of the thread's log, through a client where the place has a server."""
    if place.kind in {"redis", "fleet"}:
        with Client(settings=place.fleet.settings, graphs={graph.name: graph}) as client:
            parts = client.stream(
                place.thread, after, stream_mode=modes, subgraphs=True, timeout_s=30
            )
            return list(parts)
    store = graph.checkpointer
    unseen = Unseen(Projection(spec=graph.spec, modes=frozenset(modes)), subgraphs=True)
    follower = Follower(store, place.thread, known_by(graph))

    def is_over(seq: int) -> bool:
        loaded = store.load(place.thread, values=False)
        return not loaded.head.status.active and loaded.seq <= seq

    parts = parts_of_log(follower, unseen, after, subgraphs=True, is_over=is_over)
    return [part for part in parts if part is not None]


CALLS: dict[str, list[Any]] = {
    "publish": [{}, Command(resume={"decision": "approve"}), {}],
    "asks_side_by_side": [{}],
    "converses": [{"messages": [], "last": ""}, {"messages": ["again"], "last": ""}],
    "two_graphs": [{}],
}


def called(place: Place, name: str) -> Any:
    """Make the calls on a thread; stream them, so that what is streamed is logged on a fleet."""
    graph = place.graph(name)
    for value in CALLS[name]:
        given = {"witness": place.witness, **value} if isinstance(value, dict) else value
        assert list(graph.stream(given, place.thread, stream_mode=list(MODES), subgraphs=True))
    return graph


@pytest.mark.parametrize("name", CALLS)
def test_a_reader_continues_after_any_part_without_gap_or_repetition(
    place: Place, name: str
) -> None:
    graph = called(place, name)
    whole = read(place, graph)
    assert {part.mode for part in whole} >= {"values", "updates", "tasks", "checkpoints", "debug"}
    cursors = [part.seq for part in whole]
    assert cursors == sorted(set(cursors))
    for count, part in enumerate(whole, 1):
        assert read(place, graph, part.seq) == whole[count:]


@pytest.mark.parametrize("name", ["publish", "converses"])
def test_a_cursor_means_the_same_whichever_modes_are_read(place: Place, name: str) -> None:
    graph = called(place, name)
    whole = read(place, graph)
    for count, part in enumerate(whole, 1):
        for modes in (("updates",), ("values", "tasks"), ("messages", "debug")):
            after = [one for one in whole[count:] if one.mode in modes]
            assert read(place, graph, part.seq, modes) == after


def test_the_number_of_an_event_is_a_cursor_after_all_of_its_parts(place: Place) -> None:
    graph = called(place, "publish")
    whole = read(place, graph)
    events = [event.seq for event in graph.checkpointer.events(place.thread)]
    assert {part.event for part in whole} <= set(events)
    assert len(whole) > len(events)
    for number in events:
        assert read(place, graph, number) == [part for part in whole if part.event > number]


def test_what_both_graphs_do_that_a_node_calls_is_shown_by_the_schema_of_each(
    place: Place,
) -> None:
    graph = place.graph("two_graphs")
    found = [
        (len(space), mode, data)
        for space, mode, data in graph.stream(
            {"witness": place.witness},
            place.thread,
            stream_mode=["updates", "values", "custom"],
            subgraphs=True,
        )
    ]
    updates = [data for _, mode, data in found if mode == "updates"]
    values = [data for depth, mode, data in found if mode == "values" and depth]
    customs = [data.text for _, mode, data in found if mode == "custom"]
    assert updates[0] == {"go_left": {"left": 1}}
    assert updates[1]["go_right"]["right"][0].text == "right"
    assert updates[2] == {"call_both": {"log": [1, "right"]}}
    assert [sorted(state) for state in values[-3:]][-1] == ["right", "witness"]
    assert any("left" in state for state in values)
    assert customs == ["on the right"]
    late = [part.data for part in read(place, graph, modes=("updates",))]
    assert late == updates


# ---- gaps -------------------------------------------------------------------------------


def cut(place: Place, graph: Any, last: int) -> None:
    """Remove the events up to a number from the thread's log, as trimming it does."""
    store = graph.checkpointer
    if place.kind == "memory":
        events = store._threads[place.thread].events
        while events and events[0].seq <= last:
            events.popleft()
    elif place.kind == "sqlite":
        with contextlib.closing(sqlite3.connect(place.folder / "threads.db")) as connection:
            connection.execute("DELETE FROM event WHERE seq <= ?", (last,))
            connection.commit()
    else:
        key = f"{store.keys.of_thread(place.thread)[1]}ev"
        client = redis.Redis.from_url(place.fleet.settings.url)
        with contextlib.closing(client):
            assert client.xtrim(key, minid=f"{last + 1}-0", approximate=False)


def test_what_a_log_no_longer_holds_is_a_part_of_its_own(place: Place) -> None:
    graph = called(place, "publish")
    whole = read(place, graph)
    events = graph.checkpointer.events(place.thread)
    cut(place, graph, events[len(events) // 2].seq)
    left = graph.checkpointer.events(place.thread)
    missing = {"first": 1, "last": left[0].seq - 1, "reason": "trimmed"}
    gap, *after = read(place, graph)
    assert (gap.ns, gap.mode, gap.data) == ((), "gap", missing)
    assert after == [part for part in whole if part.event >= left[0].seq]
    assert read(place, graph, gap.seq) == after
    early = whole[0]
    again, *rest = read(place, graph, early.seq, ("updates",))
    assert (again.mode, again.data["last"]) == ("gap", left[0].seq - 1)
    assert early.event <= again.data["first"] <= early.event + 1
    assert rest == [part for part in after if part.mode == "updates"]


@pytest.mark.parametrize("kind", apart("fleet"), indirect=True)
def test_a_stream_that_is_too_late_for_its_log_is_an_error_that_says_how_to_read_on(
    place: Place,
) -> None:
    graph = place.graph("shift")
    stream = graph.stream({"witness": place.witness, "last": "it"}, place.thread)
    next(stream)
    place.wait_ran("slow")
    place.open("slow")
    place.fleet.client.result(place.thread, 30)
    last = graph.checkpointer.events(place.thread)[-1].seq
    cut(place, graph, last - 1)
    with pytest.raises(StreamGapError, match=r"Client\.stream\(.*from_seq=") as caught:
        list(stream)
    parts = list(place.fleet.client.stream(place.thread, caught.value.last, stream_mode="updates"))
    assert all(part.event > caught.value.last for part in parts)
    assert graph.get_state(place.thread).next == ()


@pytest.mark.parametrize("seq", [-1, True, 1.5, "3", None])
@pytest.mark.parametrize("kind", apart("redis"), indirect=True)
def test_what_is_no_cursor_is_refused(place: Place, seq: Any) -> None:
    graph = called(place, "publish")
    with pytest.raises(OptionError, match="from_seq must be"):
        read(place, graph, seq)
    with pytest.raises(OptionError, match="ends before it"):
        read(place, graph, 10**9)
