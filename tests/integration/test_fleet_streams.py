"""A stream is read from a thread's log: late, again, by many, without gap or repetition."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from orchestrator import Client, RunNotFinishedError, UnknownThreadError
from tests.integration import language
from tests.integration.fleet import Fleet

pytestmark = [pytest.mark.server, pytest.mark.slow]

MODES = ["updates", "values", "custom"]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("streams")
    with Fleet(folder, module=language, names=language.NAMES) as fleet:
        fleet.start(concurrency=2)
        yield fleet


def read(client: Client, thread: str, after: int = 0, **options: Any) -> list[tuple[int, Any]]:
    parts = client.stream(thread, after, stream_mode=MODES, subgraphs=True, timeout_s=30, **options)
    return [(part.seq, (part.ns, part.mode, repr(part.data))) for part in parts]


def test_a_reader_goes_on_after_any_part_it_has_read(fleet: Fleet) -> None:
    fleet.client.submit("nested", {"log": ["in"]}, thread_id="cursor")
    whole = read(fleet.client, "cursor")
    assert len(whole) > 10
    assert [seq for seq, _ in whole] == sorted(seq for seq, _ in whole)
    for after in {seq for seq, _ in whole}:
        assert read(fleet.client, "cursor", after) == [p for p in whole if p[0] > after]


def test_many_readers_read_the_same_while_the_run_runs(fleet: Fleet) -> None:
    with ThreadPoolExecutor(6) as pool, Client(settings=fleet.settings) as bare:
        handle = fleet.client.submit("fan", {"log": ["in"]}, thread_id="many")
        live = [pool.submit(read, fleet.client, "many") for _ in range(5)]
        stories = [future.result() for future in live]
        late = read(fleet.client, "many")
        assert handle.result(30)["log"][0] == "in"
        assert all(story == late for story in stories)
        # Who does not have the graph sees the states as they are stored.
        assert [part.mode for part in bare.stream("many", stream_mode="values")]


def test_a_reader_of_a_resumed_run_sees_what_is_new(fleet: Fleet) -> None:
    handle = fleet.client.submit("nested", {"log": ["in"]}, thread_id="resumed")
    before = read(fleet.client, "resumed")
    assert before[-1][1][1] == "values"
    fleet.client.resume("resumed", "yes")
    after = read(fleet.client, "resumed", before[-1][0])
    assert after[-1][1][2].endswith("'x': 20}") or "last" in after[-1][1][2]
    assert not set(before) & set(after)
    assert read(fleet.client, "resumed") == before + after
    assert handle.result(30)["log"][-2:] == ["last", 20]


def test_a_handle_streams_to_an_event_loop(fleet: Fleet) -> None:
    handle = fleet.client.submit("paused", {"log": []}, thread_id="loop")

    async def main() -> list[Any]:
        return [part.data async for part in handle.astream(stream_mode="updates")]

    assert asyncio.run(main()) == [{"draft": {"log": ["draft"]}}]


def test_a_stream_of_nothing_is_an_error_and_one_that_does_not_end_too(fleet: Fleet) -> None:
    with pytest.raises(UnknownThreadError):
        next(fleet.client.stream("nobody"))
    with Client(settings=fleet.settings) as client:
        handle = client.submit("nested", {"log": ["in"]}, thread_id="late")
        handle.cancel()
        assert client.status("late") in {"cancelled", "paused"}
    assert RunNotFinishedError.code == "RUN_NOT_FINISHED"
