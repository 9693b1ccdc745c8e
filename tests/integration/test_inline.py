"""With `dispatch="inline"` a worker goes on in place: the same steps, commits and states."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator import InvalidGraphError, StateGraph
from tests.integration import graphs
from tests.integration.accounts import assert_settled
from tests.integration.fleet import Fleet
from tests.integration.test_fleet_names import listed_by_flower
from tests.integration.test_fleet_runs import assert_as_in_process

pytestmark = [pytest.mark.server, pytest.mark.slow]

INLINE = {"GRAPHSTALK_DISPATCH": "inline", "GRAPHSTALK_SLICE_MS": "2000"}


@pytest.fixture
def inline(tmp_path: Path) -> Iterator[Fleet]:
    with Fleet(tmp_path, INLINE) as fleet:
        yield fleet


def messages(fleet: Fleet) -> int:
    """Return how many messages the workers took."""
    return sum(worker.log.read_text("utf-8").count(" received") for worker in fleet.workers)


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_a_graph_with_everything_is_the_same_in_place_as_in_process(
    inline: Fleet, tmp_path: Path, pool: str
) -> None:
    assert_as_in_process(inline, tmp_path, pool)
    # __start__ and plan in one; left, right; join; 4 pieces; collect and ask; ask again.
    assert messages(inline) <= 1 + 2 + 4 + 1


def test_steps_in_a_row_take_one_message_and_one_round_trip_each(inline: Fleet) -> None:
    inline.start()
    inline.submit("ticker", width=50)
    assert inline.result()["total"] == 50
    hashes = inline.store.script_hashes()
    with inline.redis.monitor() as monitor:
        inline.submit("ticker", "u", width=250)
        assert inline.result("u")["total"] == 250
        inline.redis.echo("that was all")
        told = itertools.takewhile(
            lambda said: not said["command"].startswith("ECHO"), monitor.listen()
        )
        calls = [said["command"] for said in told]
    counts = [sum(hashes[name] in call for call in calls) for name in ("claim", "commit")]
    assert counts == [1, 1 + 251]  # The run's acceptance, and each step with the next one's claim.
    assert messages(inline) <= 2  # Of a run that is there in time its slice takes the message.


def test_what_asks_for_a_message_gets_one(inline: Fleet) -> None:
    inline.start()
    inline.submit("hopper", width=10)
    assert inline.result()["total"] == 10
    assert inline.redis.info("commandstats")["cmdstat_lpush"]["calls"] == 11


def test_a_step_of_another_queue_goes_there(inline: Fleet) -> None:
    usual, cpu = inline.start_many(1)[0], inline.start(queues="cpu")
    inline.submit("placed")
    assert inline.result()["seen"] == ["here", "there", "back"]
    places = {ran.name: inline.worker_of(ran.pid).pid for ran in inline.ran()}
    assert places == {"here": usual.pid, "there": cpu.pid, "back": usual.pid}
    assert messages(inline) == 3


@pytest.mark.parametrize("name", ["one", "two", "three"])
def test_a_process_that_dies_in_place_repeats_only_its_step(inline: Fleet, name: str) -> None:
    inline.start()
    inline.submit("row", script={name: ["die"]})
    assert inline.result()["seen"] == ["one", "two", "three"]
    ran = [(each.name, each.attempt) for each in inline.ran()]
    others = [(other, 1) for other in ("one", "two", "three") if other != name]
    assert sorted(ran) == sorted([*others, (name, 1), (name, 2)])
    assert_settled(inline)


def test_a_failure_in_place_is_that_of_its_step(inline: Fleet) -> None:
    inline.start()
    inline.submit("patient", script={"try": ["lose", "lose"]})
    assert inline.result()["seen"] == ["try", "after"]
    assert [ran.attempt for ran in inline.ran() if ran.name == "try"] == [1, 2, 3]
    assert_settled(inline)


def test_a_thread_of_many_quick_steps_lets_others_have_their_turn(tmp_path: Path) -> None:
    with Fleet(tmp_path, {**INLINE, "GRAPHSTALK_SLICE_MS": "50"}) as fleet:
        fleet.start()
        fleet.submit("ticker", "long", width=4_000)
        fleet.wait_until(lambda: fleet.client.get_state("long").values.get("total"), "go")
        for number in range(3):
            assert fleet.result(fleet.submit("row", f"short{number}"))["total"] == 3
        assert not fleet.client.status("long").final
        assert fleet.result("long")["total"] == 4_000


def test_flower_lists_steps_that_were_done_in_place(inline: Fleet, tmp_path: Path) -> None:
    assert listed_by_flower(inline, tmp_path, 4, "row") == {
        "t:0:__start__": "row.__start__",
        "t:1:one": "row.one",
        "t:2:two": "row.two",
        "t:3:three": "row.three",
    }


def test_an_unknown_way_of_dispatch_is_an_error() -> None:
    builder = StateGraph(graphs.State).add_node("a", graphs.node("a"), dispatch="fast")  # type: ignore[typeddict-item]
    builder.add_edge("__start__", "a")
    with pytest.raises(InvalidGraphError, match=r'"queue" or "inline" \(dispatch='):
        builder.compile()
