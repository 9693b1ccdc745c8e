"""A list that grows on a fleet: each worker brings what it added, and gets what others did."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.serde.codec import Codec
from tests.integration.fleet import Fleet

pytestmark = [pytest.mark.server, pytest.mark.slow]

ITEM_BYTES, WIDTH = 4_000, 60


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with Fleet(tmp_path) as fleet:
        yield fleet


def traffic(fleet: Fleet) -> int:
    """Return how many bytes the server got and sent."""
    stats = fleet.redis.info("stats")
    return int(stats["total_net_input_bytes"]) + int(stats["total_net_output_bytes"])


def stored(fleet: Fleet, thread: str) -> int:
    """Return how many bytes a thread takes on the server, its log left out."""
    found = [key for key in fleet.redis.scan_iter(f"*:t:{thread}:*") if not key.endswith(b":ev")]
    return sum(fleet.redis.memory_usage(key, samples=0) for key in found)


def test_two_workers_by_turns_each_get_only_what_the_other_added(fleet: Fleet) -> None:
    fleet.start()
    fleet.start(queues="cpu")
    before = traffic(fleet)
    fleet.submit("relay", width=WIDTH, seen=["0000" * 1000])
    seen = fleet.result()["seen"]
    moved = traffic(fleet) - before
    assert seen == [f"{number:04}" * 1000 for number in range(WIDTH + 1)]
    pids = {
        name: {ran.pid for ran in fleet.ran() if ran.name == name} for name in ("here", "there")
    }
    assert pids["here"].isdisjoint(pids["there"])
    assert [ran.name for ran in fleet.ran()] == ["here", "there"] * (WIDTH // 2)
    # Each item goes to the server once, and to the other worker; all of them to whoever waits.
    final = len(Codec().encode(seen))
    assert final > WIDTH * ITEM_BYTES
    assert moved < 6 * final
    assert stored(fleet, "t") < 1.3 * final  # About 300 bytes a step beside 4,000.


def test_a_worker_that_is_new_gets_the_whole_list(fleet: Fleet) -> None:
    first = fleet.start()
    fleet.start(queues="cpu")
    given = [f"{number:04}" * 1000 for number in range(10)]
    fleet.submit("relay", width=20, seen=given, script={"there": ["wait"]})
    fleet.wait_for("there")
    fleet.stop(first)
    fleet.start()
    fleet.open("there")
    assert fleet.result()["seen"] == [f"{number:04}" * 1000 for number in range(30)]
    assert len({ran.pid for ran in fleet.ran() if ran.name == "here"}) == 2
