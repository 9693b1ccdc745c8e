"""Schemas of every kind and spelling give the states, values and JSON schemas of LangGraph."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given

from tests.property import declaring, twins
from tests.property.comparing import NIGHTLY, sized
from tests.property.declaration_deviations import DECLARATIONS
from tests.property.declaring import SchemaPlan, schemas
from tests.property.whole import Difference, Pairs, differences

CASES, CASES_NIGHTLY = 150, 5_000
KINDS = {"plain": schemas(), "spelled": schemas(spelled=True)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.timeout(3600 if NIGHTLY else 120)
@pytest.mark.filterwarnings("ignore")
def test_any_schema_means_what_it_means_in_langgraph(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    met: Counter[str] = Counter()

    @sized(CASES, CASES_NIGHTLY)
    @given(KINDS[kind])
    def run(plan: SchemaPlan) -> None:
        met["schemas"] += 1
        found = [each for each in seen(plan) if not explained(plan, each, met)]
        if found:
            path, ours, theirs = found[0]
            text = plan.text(plain=False)
            pytest.fail(
                f"{plan}\n{text}\n{path}\n  ours: {ours}\n  theirs: {theirs}", pytrace=False
            )

    run()
    with capsys.disabled():
        print(f"\n{kind} schemas on both libraries:", dict(sorted(met.items())))


def seen(plan: SchemaPlan) -> list[Difference]:
    """Return what differs."""
    ours: Any = declaring.observed(plan, twins.Ours, plain=False)
    theirs: Any = declaring.observed(plan, twins.Theirs, plain=True)
    return list(differences({**theirs, **ours} if plan.spelled else ours, theirs, Pairs()))


def explained(plan: SchemaPlan, difference: Difference, met: Counter[str]) -> bool:
    """Return whether a deviation explains a difference; count it."""
    for known in DECLARATIONS:
        if known.active and known.explains(plan, difference):
            met[f"known: {known.name}"] += 1
            return True
    return False
