"""The same graphs, run by this project and by LangGraph, come to the same states by the same steps.

Graphs and what is done to them are drawn at random as plain data (`plans`, `drawn`), built for both
libraries (`twins`), and after each call both threads are compared (`views`): how the call ended,
what it returned or streamed, the state, what is next, what is asked, and the whole history. What
differs stands with its reason in `deviations`; nothing else may.

`HYPOTHESIS_PROFILE=nightly` runs 10,000 graphs, `PROPERTY_SEED` draws others.
"""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given

from tests.property.comparing import NIGHTLY, difference, explained, no_luck, sized
from tests.property.deviations import DEVIATIONS
from tests.property.drawn import scenarios
from tests.property.plans import START, GraphPlan, NodePlan, RouterPlan, Target
from tests.property.shrinking import Case, smallest
from tests.property.views import Do

__all__ = ["no_luck"]

CASES, CASES_NIGHTLY = 330, 10_000


def signature(case: Case) -> object:
    """Return what kind of difference a case shows, if any."""
    try:
        found = difference(case, Counter())
    except Exception:  # noqa: BLE001 - a graph made smaller may be none
        return None
    return found and (found.do.what, found.ours["ended"], found.theirs["ended"], found.fields)


def shrunk(case: Case) -> Case:
    """Return a smaller case with the same kind of difference."""
    wanted = signature(case)
    return smallest(case, lambda smaller: signature(smaller) == wanted)


@pytest.mark.timeout(7200 if NIGHTLY else 240)
@pytest.mark.usefixtures("no_luck", "small_tails")
def test_any_graph_runs_as_in_langgraph(capsys: pytest.CaptureFixture[str]) -> None:
    met: Counter[str] = Counter()
    features: Counter[str] = Counter()

    @sized(CASES, CASES_NIGHTLY)
    @given(scenarios())
    def run(case: Case) -> None:
        met["graphs"] += 1
        features.update(case[0].features())
        if difference(case, met) is None:
            return
        found = difference(shrunk(case), Counter())
        pytest.fail(explained(found) if found else f"It came and went: {case}", pytrace=False)

    run()
    with capsys.disabled():
        print(f"\n{met['graphs']} graphs on both libraries:", dict(sorted(met.items())))
        print("graphs with:", dict(sorted(features.items())))
    assert met["cut short"] < met["graphs"] / 2
    assert {"input ok", "input boom", "input recursion", "input conflict", "go ok"} <= set(met)
    assert min(features.values()) > 0
    assert len(features) >= 25


def plan_of(*nodes: NodePlan, routers: tuple[RouterPlan, ...] = ()) -> GraphPlan:
    return GraphPlan(nodes, ((START, nodes[0].name),), routers=routers)


def test_every_deviation_has_a_name_of_its_own_and_a_reason() -> None:
    names = [deviation.name for deviation in DEVIATIONS]
    assert len({*names}) == len(names)
    assert all(
        deviation.reason.endswith(".") or "(" in deviation.reason for deviation in DEVIATIONS
    )


@pytest.mark.usefixtures("no_luck", "small_tails")
def test_a_difference_is_found_and_made_small(monkeypatch: pytest.MonkeyPatch) -> None:
    def odd(plan: NodePlan, who: str, answers: list[object]) -> dict[str, object]:
        odd.calls += 1
        return {"log": [who, str(odd.calls % 2)]}

    odd.calls = 0
    monkeypatch.setattr("tests.property.twins.update_of", odd)
    routers = (RouterPlan("a", "r0", ((Target("b", 1), Target("c")),)),)
    plan = plan_of(NodePlan("a", asks=1), NodePlan("b"), NodePlan("c", says=2), routers=routers)
    todo = [Do("input", {"log": ["in"]}, via="stream"), Do("go"), Do("input", {"last": "in"})]
    plan, todo = shrunk((plan, todo))
    assert len(plan.nodes) == 1
    assert [do.what for do in todo] == ["input", "go"]
