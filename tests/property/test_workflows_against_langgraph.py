"""The same workflows, entrypoints and tasks, run alike by this project and by LangGraph.

As in `test_against_langgraph.py`; what a workflow is, is in `workflows`.
"""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.property import workflows
from tests.property.comparing import NIGHTLY, RESUMED_EXTRA, compared, explained, no_luck, sized
from tests.property.deviations import Moment
from tests.property.twins import Ours, Theirs
from tests.property.views import Do, Twin
from tests.property.workflow_deviations import WORKFLOW_DEVIATIONS
from tests.property.workflows import WorkflowPlan

__all__ = ["no_luck"]

CASES, CASES_NIGHTLY = 150, 3_000


@st.composite
def scenarios(draw: st.DrawFn) -> tuple[WorkflowPlan, list[Do]]:
    via = st.sampled_from(["invoke", "stream"])
    first = st.builds(Do, st.just("input"), st.integers(1, 3), via=via)
    go = st.builds(Do, st.just("go"), pick=st.integers(0, 3), via=via)
    do = st.one_of(
        *[go] * 5,
        first,
        st.builds(Do, st.just("resume"), via=via),
        st.builds(Do, st.just("all"), via=via),
    )
    plan = draw(workflows.workflows())
    return plan, [draw(first), *draw(st.lists(do, min_size=1, max_size=5))]


def differing(plan: WorkflowPlan, todo: list[Do], met: Counter[str]) -> Moment | None:
    """Return the first difference that no deviation explains."""
    ours = Twin(workflows.build(plan, Ours), Ours, concurrent=True)
    options = {"durability": "sync"}
    theirs = Twin(workflows.build(plan, Theirs), Theirs, RESUMED_EXTRA, options, concurrent=True)
    return compared(plan, todo, (ours, theirs), met, WORKFLOW_DEVIATIONS)


@pytest.mark.timeout(3600 if NIGHTLY else 120)
@pytest.mark.usefixtures("no_luck", "small_tails")
def test_any_workflow_runs_as_in_langgraph(capsys: pytest.CaptureFixture[str]) -> None:
    met: Counter[str] = Counter()
    features: Counter[str] = Counter()

    @sized(CASES, CASES_NIGHTLY)
    @given(scenarios())
    def run(case: tuple[WorkflowPlan, list[Do]]) -> None:
        met["workflows"] += 1
        features.update(case[0].features())
        found = differing(*case, met)
        if found:
            pytest.fail(explained(found), pytrace=False)

    run()
    with capsys.disabled():
        print(f"\n{met['workflows']} workflows on both libraries:", dict(sorted(met.items())))
        print("workflows with:", dict(sorted(features.items())))
    assert {"input ok", "input boom", "go ok", "resume ok"} <= set(met)
    assert len(features) >= 11
