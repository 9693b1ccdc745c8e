"""Async programs that are cancelled, left or fail end as in LangGraph, and their threads go on."""

from __future__ import annotations

import asyncio
import re
from collections import Counter

import pytest
from hypothesis import given

from tests.property import cancelling, twins
from tests.property.cancelling import Program, programs
from tests.property.comparing import NIGHTLY, no_luck, sized
from tests.property.whole import Difference, Pairs, differences

__all__ = ["no_luck"]

CASES, CASES_NIGHTLY = 25, 1_500


@pytest.mark.timeout(3600 if NIGHTLY else 120)
def test_any_program_is_cancelled_as_in_langgraph(capsys: pytest.CaptureFixture[str]) -> None:
    met: Counter[str] = Counter()

    @sized(CASES, CASES_NIGHTLY)
    @given(programs())
    def run(program: Program) -> None:
        met.update([program.ends, program.face, *program.kinds])
        found = [each for each in seen(program) if not explained(program, each)]
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


def explained(program: Program, difference: Difference) -> bool:
    """Return whether a difference has a reason.

    A step that was cancelled has not failed: LangGraph shows it as one with an error. Where one
    fails, LangGraph does not wait for what the others do when they are cancelled. In which order
    the steps of a subgraph ask, it leaves to a set of futures.
    """
    path, ours, theirs = difference
    if path.startswith(".first") and program.ends == "leave":
        return True  # How much was read by then is luck.
    if path.startswith((".then.tasks", ".at last.tasks")) and (ours, theirs) == (False, True):
        return True
    if path.startswith(".noted") and "fails" in program.kinds and "cleans" in program.kinds:
        return True
    several = program.kinds.count("asks") > 1
    return several and bool(re.search(r"__interrupt__|tasks.*\[3\]", path))
