"""Calls as users write them give the same as in LangGraph: to the caller, and in the whole history.

In contrast to `test_against_langgraph`, graphs are plain and calls are not: nothing is chosen for
the caller (no stream mode, no version, any thread id, any face, any place in the history), and all
of what is there is compared: every field of every snapshot, configs, metadata, what a callback
handler hears. What differs stands with its reason in `call_deviations`.
"""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given

from tests.property.call_deviations import CALLS
from tests.property.calling import Scene, scenes
from tests.property.comparing import NIGHTLY, no_luck, sized
from tests.property.comparing_calls import described, differing, shrunk

__all__ = ["no_luck"]

CASES, CASES_NIGHTLY = 200, 6_000
KINDS = {
    "calls": scenes(),
    "listeners": scenes(listens=True),
    "places": scenes(places=True),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.timeout(7200 if NIGHTLY else 120)
@pytest.mark.usefixtures("no_luck", "small_tails")
def test_any_call_gives_what_it_gives_in_langgraph(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    met: Counter[str] = Counter()

    @sized(CASES, CASES_NIGHTLY)
    @given(KINDS[kind])
    def run(scene: Scene) -> None:
        met["scenes"] += 1
        found = differing(scene, met)
        if found is not None:
            pytest.fail(described(differing(shrunk(scene), Counter()) or found), pytrace=False)

    run()
    with capsys.disabled():
        print(f"\n{kind} on both libraries:", dict(sorted(met.items())))
    assert met["cut short"] < met["scenes"] / 2
    assert met["calls"] > met["scenes"]


def test_every_known_difference_has_a_reason() -> None:
    assert all(known.reason.endswith(".") for known in CALLS)
