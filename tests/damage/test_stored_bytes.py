"""Whatever is done to stored bytes: it is noticed, and no run ends with another result. (INV-10)

Some thousand times one record of a paused thread is damaged: a bit, a part, all of it, or by a
record that was stored elsewhere. Then the thread is answered and goes on.
"""

from __future__ import annotations

import operator
import os
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest

from orchestrator import START, Command, StateCorruptedError, StateGraph, interrupt
from orchestrator.envelope.damage import Damaged
from orchestrator.errors import GraphstalkError, StepFailedError
from orchestrator.step.context import StepContext
from tests.damage.stored import Cell, MemoryCells, RedisCells, SqliteCells, Stored

NIGHTLY = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"
MUTATIONS = {"memory": 300, "sqlite": 60, "redis": 60}
NIGHTLY_MUTATIONS = 10_000
ROUNDS_MAX = 8
pytestmark = [
    pytest.mark.timeout(7200 if NIGHTLY else 120),
    pytest.mark.usefixtures("small_tails"),
]
OTHER_MUTATIONS = {"sqlite": 80, "redis": 80}
STORES = [
    "memory",
    "sqlite",
    pytest.param("redis", marks=(pytest.mark.server, pytest.mark.slow)),
]


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    text: str
    number: int


def begin(state: State) -> State:
    return {"log": ["begin"], "text": f"text {len(state['log'])}", "number": 7}


def left(state: State) -> State:
    return {"log": [f"left {state['number']}"]}


def ask(state: State, ctx: StepContext) -> State:
    charged = ctx.once("charge", lambda: f"charged {state['text']}")
    return {"log": [charged, interrupt({"of": state["text"]})]}


def last(state: State) -> State:
    return {"text": state["text"] + "!", "log": ["last"]}


builder = StateGraph(State)
for node in (begin, left, ask, last):
    builder.add_node(node.__name__, node)
builder.add_edge(START, "begin").add_edge("begin", "left").add_edge("begin", "ask")
builder.add_edge(["left", "ask"], "last")


@pytest.fixture
def stored(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Stored]:
    if kind == "memory":
        made: Any = MemoryCells()
    elif kind == "sqlite":
        made = SqliteCells(tmp_path / "threads.db")
    else:
        made = RedisCells(request.getfixturevalue("settings"))
    yield made
    made.store.close()


def mutated(rng: random.Random, cells: dict[Cell, bytes], cell: Cell) -> tuple[str, bytes]:
    """Return what is done to a record, and what it is then."""
    data = cells[cell]
    how = rng.choice(("bit", "byte", "cut", "longer", "swapped", "swapped", "gone"))
    if how == "bit":
        at = rng.randrange(len(data) * 8)
        changed = bytearray(data)
        changed[at // 8] ^= 1 << at % 8
        return how, bytes(changed)
    if how == "byte":
        at = rng.randrange(len(data))
        return how, data[:at] + rng.randbytes(1) + data[at + 1 :]
    if how == "cut":
        return how, data[: rng.randrange(len(data) - 1) + 1] if len(data) > 1 else b"?"
    if how == "longer":
        return how, data + rng.randbytes(rng.randrange(1, 9))
    others = [one for one in cells if one[0] == cell[0] and cells[one] != data]
    if how == "swapped" and others:
        return how, cells[rng.choice(others)]
    return "gone", rng.randbytes(rng.randrange(1, 20))


def damage_seen(store: Any, threads: tuple[str, ...]) -> int:
    """Return how many records of all checkpoints are seen not to be what was stored."""
    seen = 0
    for thread in threads:
        for checkpoint_id in [None, *store.history(thread)]:
            loaded = store.load(thread, checkpoint_id=checkpoint_id)
            kept = [loaded.checkpoint.header, loaded.checkpoint.plan, *loaded.blobs.values()]
            kept += [*loaded.outcomes.values(), loaded.head.config, loaded.head.error]
            for step in loaded.steps.values():
                kept += [*step.asks.values(), *step.answers.values(), *step.notes.values()]
                kept.append(step.error)
            seen += sum(isinstance(each, Damaged) for each in kept)
    return seen


def brought_to_end(graph: Any, thread: str) -> Any:
    """Answer and resume until the thread has ended; return its state, or what refused to go on."""
    refused: StateCorruptedError | None = None
    for _ in range(ROUNDS_MAX):
        try:
            asked = graph.get_state(thread).interrupts
            value = Command(resume={i.id: f"yes to {i.value['of']}" for i in asked})
            graph.invoke(value if asked else None, thread)
            state = graph.get_state(thread)
        except StepFailedError as error:  # What the run began with is damaged.
            if "StateCorruptedError" not in str(error):
                raise
            return error
        except StateCorruptedError as error:
            if refused is not None:
                return error
            refused = error
            try:
                graph.invoke(None, thread)  # As the error says: go on from what is whole.
            except (StateCorruptedError, StepFailedError) as again:
                return again
        else:
            refused = None
            if not state.next:
                return state.values
    return "never ended"


@pytest.mark.parametrize("kind", STORES)
def test_damage_is_noticed_and_changes_no_result(kind: str, stored: Stored) -> None:
    graph = builder.compile(stored.store)
    threads = ("mine", "other")
    for thread in threads:
        graph.invoke({"log": [thread]}, thread)
        expected = brought_to_end(graph, thread)
        graph.invoke({"log": [thread]}, thread)
    saved = stored.saved()
    expected = brought_to_end(graph, "mine")
    assert expected["log"].count("last") == 2
    stored.restore(saved)
    cells = stored.cells()
    assert len({cell[0] for cell in cells}) >= 6, sorted({cell[0] for cell in cells})
    seed = os.environ.get("PROPERTY_SEED", "0")
    rng = random.Random(f"{kind} {seed}")
    counts: Counter[str] = Counter()
    for number in range(NIGHTLY_MUTATIONS if NIGHTLY else MUTATIONS[kind]):
        cell = rng.choice(list(cells))
        how, data = mutated(rng, cells, cell)
        if data == cells[cell]:
            continue
        stored.restore(saved)
        stored.write(cell, data)
        what = f"seed {seed}, mutation {number}: {how} of {cell}"
        assert damage_seen(stored.store, threads), what
        outcome = brought_to_end(builder.compile(stored.store), "mine")
        refused = isinstance(outcome, (StateCorruptedError, StepFailedError))
        assert refused or outcome == expected, (what, outcome)
        counts[how] += 1
        counts["refused" if refused else "same result"] += 1
    print(f"mutations on {kind}: {dict(sorted(counts.items()))}")


def otherwise(rng: random.Random, cells: dict[Cell, Any], cell: Cell) -> Any:
    """Return what a number, a text or bytes might be after damage."""
    data = cells[cell]
    if isinstance(data, int):
        return rng.choice((data + 1, max(0, data - 1), 0, rng.randrange(2**40), "x"))
    texts = {one: other for one, other in cells.items() if not isinstance(other, int)}
    as_bytes = {c: d.encode() if isinstance(d, str) else d for c, d in texts.items()}
    _, changed = mutated(rng, as_bytes, cell)
    return changed.decode("utf-8", "replace") if isinstance(data, str) else changed


@pytest.mark.parametrize("kind", STORES[1:])
def test_damage_to_anything_else_ends_in_no_other_result_and_no_crash(
    kind: str, stored: Stored
) -> None:
    graph = builder.compile(stored.store)
    graph.invoke({"log": ["mine"]}, "mine")
    saved = stored.saved()
    expected = brought_to_end(graph, "mine")
    stored.restore(saved)
    cells = stored.others()
    rng = random.Random(f"{kind} {os.environ.get('PROPERTY_SEED', '0')}")
    counts: Counter[str] = Counter()
    for number in range(NIGHTLY_MUTATIONS if NIGHTLY else OTHER_MUTATIONS[kind]):
        cell = rng.choice(list(cells))
        changed = otherwise(rng, cells, cell)
        stored.restore(saved)
        stored.write(cell, changed)
        what = f"mutation {number}: {cell} is {changed!r}"
        try:
            outcome = brought_to_end(builder.compile(stored.store), "mine")
        except GraphstalkError as error:
            outcome = error
        except Exception as error:
            raise AssertionError(what) from error
        refused = isinstance(outcome, GraphstalkError)
        stays = outcome == "never ended"
        assert refused or stays or outcome == expected, (what, outcome)
        counts["refused" if refused else "stays" if stays else "same result"] += 1
        if stays:
            counts[f"stays after {cell[0]} {cell[-1]}"] += 1
    print(f"other mutations on {kind}: {dict(sorted(counts.items()))}")
