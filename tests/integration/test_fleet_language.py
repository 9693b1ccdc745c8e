"""The whole graph language on real workers: the same as in this process, to the letter."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator import (
    CeleryExecutor,
    CompiledStateGraph,
    GraphPausedError,
    MemoryCheckpointer,
    SqliteCheckpointer,
    StepFailedError,
)
from tests.integration import language
from tests.integration.fleet import Fleet
from tests.integration.language import CASES, graph_on, plain, seen

pytestmark = [pytest.mark.server, pytest.mark.slow]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("language")
    with Fleet(folder, module=language, names=language.NAMES) as fleet:
        fleet.start(concurrency=2)
        yield fleet


def told(graph: CompiledStateGraph, thread: str, inputs: list[Any], modes: list[str]) -> Any:
    """Return all that is told of a thread while inputs come one after the other."""
    story: list[Any] = []
    for value in inputs:
        try:
            for space, mode, data in graph.stream(value, thread, stream_mode=modes, subgraphs=True):
                names = [part.partition(":")[0] for part in space]
                story.append((names, mode, plain(data)))
        except (GraphPausedError, StepFailedError, ValueError) as error:
            story.append(("raised", type(error).__name__.replace("StepFailedError", "ValueError")))
    # Steps of one superstep end in any order.
    return sorted(story, key=repr) if graph.name in {"fan", "workflow"} else story


@pytest.mark.parametrize("name", CASES)
def test_a_fleet_tells_the_same_story_as_this_process(
    fleet: Fleet, name: str, tmp_path: Path
) -> None:
    inputs, modes = CASES[name], ["updates", "values", "custom"]
    here = graph_on(name, checkpointer=MemoryCheckpointer())
    expected = told(here, name, inputs, modes)
    file = graph_on(name, checkpointer=SqliteCheckpointer(tmp_path / "threads.db"))
    assert told(file, name, inputs, modes) == expected
    assert seen(file, name) == seen(here, name)
    there = graph_on(name, executor=CeleryExecutor(settings=fleet.settings, timeout_s=30))
    assert told(there, name, inputs, modes) == expected
    assert seen(there, name) == seen(here, name)
