"""Async programs that are cancelled, left or fail end as in LangGraph, and their threads go on."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given

from tests.property import cancelling, twins
from tests.property.cancelling import Program, programs
from tests.property.comparing import NIGHTLY, no_luck, sized
from tests.property.deviations import PENDING
from tests.property.whole import Difference, Pairs, differences

__all__ = ["no_luck"]

CASES, CASES_NIGHTLY = 60, 1_500


@pytest.mark.skipif(bool(PENDING & {"cause 8", "cause 9"}), reason="to be mended")
@pytest.mark.timeout(3600 if NIGHTLY else 120)
def test_any_program_is_cancelled_as_in_langgraph(capsys: pytest.CaptureFixture[str]) -> None:
    met: Counter[str] = Counter()

    @sized(CASES, CASES_NIGHTLY)
    @given(programs())
    def run(program: Program) -> None:
        met.update([program.ends, program.face, *program.kinds])
        found = [each for each in seen(program) if not _is_luck(program, each)]
        if found:
            lines = [f"{path}\n  ours: {ours}\n  theirs: {theirs}" for path, ours, theirs in found]
            pytest.fail("\n".join([str(program), *lines]), pytrace=False)

    run()
    with capsys.disabled():
        print("\nasync programs on both libraries:", dict(sorted(met.items())))


def seen(program: Program) -> list[Difference]:
    """Return what differs."""
    ours = asyncio.run(cancelling.observed(program, twins.Ours))
    theirs = asyncio.run(cancelling.observed(program, twins.Theirs))
    return list(differences(ours, theirs, Pairs()))


def _is_luck(program: Program, difference: Difference) -> bool:
    """Whether only the order of questions differs, which LangGraph leaves to a set of futures."""
    path, ours, theirs = difference
    asked = program.kinds.count("asks") > 1
    return asked and str(ours).endswith("?") and str(theirs).endswith("?") and "[" in path
