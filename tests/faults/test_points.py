"""At whatever point of a step a process is killed: it is committed once, and the run goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import product

import pytest

from tests.faults.nightly import chosen
from tests.faults.points import IN_PLACE, POINTS, VICTIMS, behind, bring, keep_up
from tests.faults.proxy import Proxy
from tests.integration.accounts import assert_settled
from tests.integration.fleet import Fleet

pytestmark = [pytest.mark.server, pytest.mark.slow]

RECOVERY_S = 10.0  # With the leases of these tests; far more than it takes.

# What runs of the second step, by attempt, if all that the victim did is kill it and what it held.
RUNS = {
    "before its claim": [1],
    "after its claim": [2],
    "in the node": [1, 2],
    "before its commit": [1, 2],
    "after its commit": [1],
    "before the acknowledgement": [1],
}


EVERY = list(product(["prefork", "threads"], VICTIMS, POINTS))
FEW = [
    *product(["prefork"], ["pool process"], POINTS),
    *product(
        ["prefork"], ["machine"], ["after its claim", "before its commit", "after its commit"]
    ),
    *product(["prefork"], ["main process", "keeper"], ["before its commit"]),
    *product(["threads"], ["main process"], ["after its claim", "after its commit"]),
]


@pytest.fixture(scope="module")
def crowds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[Fleet, Proxy]]]:
    """A fleet for each pool, behind a proxy; each test uses threads of its own."""
    with ExitStack() as stack:
        made = {}
        for pool in ("prefork", "threads"):
            fleet = stack.enter_context(Fleet(tmp_path_factory.mktemp(pool)))
            proxy = stack.enter_context(Proxy(fleet.server.url))
            behind(fleet, proxy)
            made[pool] = fleet, proxy
        yield made


@pytest.mark.parametrize(("pool", "victim", "point"), chosen(EVERY, FEW))
def test_a_kill_at_any_point_of_a_step_loses_and_doubles_nothing(
    crowds: dict[str, tuple[Fleet, Proxy]], pool: str, victim: str, point: str
) -> None:
    fleet, proxy = crowds[pool]
    keep_up(fleet, 2, pool)
    thread = f"{victim} {point}".replace(" ", "-")
    hit = bring(fleet, proxy, thread, point)
    killed_s = hit.kill(victim)
    hit.go_on(lost=victim in {"pool process", "machine"})
    fleet.open(f"{thread}.two")
    assert fleet.result(thread, RECOVERY_S)["total"] == 3
    print(f"went on after {fleet.ran(thread)[-1].t - killed_s:.3f} s")
    runs = [ran.attempt for ran in fleet.ran(thread) if ran.name == "two"]
    if victim == "keeper":
        assert runs == [1]
    elif victim in {"pool process", "machine"}:
        assert runs == RUNS[point]
    assert_settled(fleet, thread)


@pytest.mark.parametrize(
    ("point", "runs", "refusal"),
    [
        ("before its claim", [1], b"stale_fence" if IN_PLACE else b"claimed"),
        ("before its commit", [1, 2], b"stale_fence"),
    ],
)
def test_a_call_that_arrives_after_its_sender_was_replaced_changes_nothing(
    crowds: dict[str, tuple[Fleet, Proxy]], point: str, runs: list[int], refusal: bytes
) -> None:
    fleet, proxy = crowds["prefork"]
    keep_up(fleet, 2, "prefork")
    thread = f"late {point}".replace(" ", "-")
    hit = bring(fleet, proxy, thread, point, again=[f"wait {thread}.again"])
    hit.kill("pool process")
    successor = fleet.wait_for("two", attempt=runs[-1], thread=thread)
    before = fleet.client.get_state(thread), fleet.steps(thread), fleet.stats("stale_refused")
    assert before[1]["two"].owner == successor.worker
    assert refusal in hit.deliver_late()
    assert (fleet.client.get_state(thread), fleet.steps(thread)) == before[:2]
    assert fleet.stats("stale_refused") - before[2] == (refusal == b"stale_fence")
    fleet.open(f"{thread}.two")
    fleet.open(f"{thread}.again")
    assert fleet.result(thread)["total"] == 3
    assert [ran.attempt for ran in fleet.ran(thread) if ran.name == "two"] == runs
    assert_settled(fleet, thread)
