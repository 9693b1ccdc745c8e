"""An error handler has the time limit of its node and can be paused at, at every place."""

from __future__ import annotations

import pytest

from orchestrator.errors import NodeTimeoutError
from tests.semantics.places import Place


@pytest.mark.parametrize("name", ["handled_late", "handled_late_async", "handled_late_by_default"])
def test_a_handler_that_takes_too_long_fails_its_step_and_runs_again_on_resume(
    place: Place, name: str
) -> None:
    graph = place.graph(name)
    with place.failing(NodeTimeoutError, "__error_handler__boom", "run_timeout of 0.3 s"):
        place.call(graph, {})
    assert place.ran() == ["boom", "handler"]
    assert graph.get_state(place.thread).next == ("boom",)

    assert place.call(graph, None)["log"] == ["StepFailedError"]
    assert place.ran() == ["boom", "handler", "handler"]


def test_a_run_pauses_before_and_after_an_error_handler(place: Place) -> None:
    graph = place.graph("pauses_at_handler")
    assert place.call(graph, {}) == {"log": []}
    snapshot = graph.get_state(place.thread)
    assert (snapshot.next, snapshot.interrupts) == (("boom",), ())
    assert place.ran() == ["boom"]

    assert place.call(graph, None)["log"] == ["StepFailedError"]
    assert graph.get_state(place.thread).next == ("after",)
    assert place.call(graph, None)["log"] == ["StepFailedError", "after"]
    assert place.ran() == ["boom", "handler", "after"]
