"""Doing the same to a graph in both libraries; finding the first difference without a reason."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import langgraph._internal._queue
import langgraph.pregel._loop
import langgraph.pregel._runner
import pytest
from hypothesis import HealthCheck, Phase, seed, settings

from tests.property import twins
from tests.property.deviations import DEVIATIONS, Deviation, Moment, reasons
from tests.property.plans import GraphPlan
from tests.property.views import Do, Twin

NIGHTLY = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"
SEED = int(os.environ.get("PROPERTY_SEED", "0"))  # Another seed draws other graphs.
RESUMED_EXTRA = 2  # D14: how many more supersteps LangGraph takes when it resumes.


def sized(cases: int, nightly: int) -> Callable[[Any], Any]:
    """Return how a property is run: always the same cases, many more of them at night."""
    chosen = settings(
        max_examples=nightly if NIGHTLY else cases,
        deadline=None,
        database=None,
        phases=[Phase.generate],  # What fails is made smaller by `shrinking`.
        suppress_health_check=list(HealthCheck),
    )
    return lambda test: seed(SEED)(chosen(test))


@pytest.fixture
def no_luck(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take out of LangGraph what depends on the order in which OS threads run.

    It drops the writes of steps that have not ended when another fails: here it waits for them. And
    with one OS thread at a time, waiting for stream parts would wait for ever.
    """
    stop = "_should_stop_others"
    monkeypatch.setattr(langgraph.pregel._runner, stop, lambda *_, **__: False)
    monkeypatch.setattr(langgraph._internal._queue.SyncQueue, "wait", lambda *_, **__: None)
    # Durability "async" stores some channels as they are a moment later, and "sync" looks for what
    # is being stored also in subgraphs that store nothing.
    stored: Future[None] = Future()
    stored.set_result(None)
    loop: Any = langgraph.pregel._loop.SyncPregelLoop
    monkeypatch.setattr(loop, "_put_checkpoint_fut", stored, raising=False)
    loop = langgraph.pregel._loop.AsyncPregelLoop
    monkeypatch.setattr(loop, "_put_checkpoint_fut", _Stored(), raising=False)


class _Stored:
    """What waits for nothing."""

    def __await__(self) -> Iterator[None]:
        return iter(())


def difference(case: tuple[GraphPlan, list[Do]], met: Counter[str]) -> Moment | None:
    """Return the first difference of a graph that no deviation explains; count what was met."""
    plan, todo = case
    ours = Twin(twins.ours(plan), twins.Ours)
    theirs = Twin(twins.theirs(plan), twins.Theirs, RESUMED_EXTRA, {"durability": "sync"})
    return compared(plan, todo, (ours, theirs), met, DEVIATIONS)


def compared(
    plan: Any,
    todo: list[Do],
    pair: tuple[Twin, Twin],
    met: Counter[str],
    table: tuple[Deviation, ...],
) -> Moment | None:
    """Do the same to ours and theirs; return the first difference that the table does not explain.

    Nothing more is done once the two threads are not the same; what was met is counted.
    """
    ours, theirs = pair
    before: dict[str, Any] | None = None
    for index, do in enumerate(todo):
        mine, their = ours.act(do, before), theirs.act(do, before)
        met[f"{do.what} {mine['ended']}"] += 1
        fields = {key for key in {*mine, *their} if mine.get(key) != their.get(key)}
        if fields:
            moment = Moment(plan, todo[: index + 1], before, mine, their, fields)
            known = reasons(moment, table)
            if not known:
                return moment
            met.update(f"deviation: {each.name}" for each in known)
            if any(each.explains is None for each in known):
                met["cut short"] += 1
                return None
        before = mine
    return None


def explained(moment: Moment) -> str:
    """Return a difference in words."""
    lines = ["The two differ, and no deviation says why.", f"{moment.plan}", f"{moment.todo}"]
    for name in sorted(moment.fields):
        lines += [f"- {name}", f"    ours:   {moment.ours.get(name)}"]
        lines += [f"    theirs: {moment.theirs.get(name)}"]
    return "\n".join(lines)
