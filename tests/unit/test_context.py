"""What a step records so that it does not happen twice: effects, times, chance."""

import contextlib
import datetime as dt
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator import (
    START,
    Command,
    InProcess,
    MemoryCheckpointer,
    StateGraph,
    UnknownEffectError,
    interrupt,
    task,
)
from orchestrator.errors import UnserializableValueError
from orchestrator.step.context import StepContext
from orchestrator.testing.manual_clock import ManualClock
from tests.fixtures.bench import State


class Killed(BaseException):
    """Ends the process where it stands, as far as the step can tell."""


class World:
    """A thread whose one node does what a test asks of it, attempt by attempt."""

    def __init__(self, *acts: Callable[[StepContext], Any]) -> None:
        self.acts = list(acts)
        self.effects: list[str] = []

        def node(state: State, ctx: StepContext) -> State:
            act = self.acts.pop(0) if len(self.acts) > 1 else self.acts[0]
            return {"log": [act(ctx)]}

        builder = StateGraph(State).add_node("work", node).add_edge(START, "work")
        self.graph = builder.compile(MemoryCheckpointer())

    def effect(self, name: str = "charged", then: BaseException | None = None) -> Any:
        """Do something in the world; then it may be that nobody hears of it."""

        def run() -> str:
            self.effects.append(name)
            if then is not None:
                raise then
            return name

        return run

    def run(self, value: Any = None) -> list[Any]:
        log: list[Any] = self.graph.invoke(value, "t")["log"]
        return log

    def fails(self, error: type[BaseException], value: Any = None) -> BaseException:
        with pytest.raises(error) as caught:
            self.run(value)
        return caught.value


def boom(*_: Any) -> None:
    raise ValueError("boom")


# ---- effects --------------------------------------------------------------------------------


def test_an_effect_happens_once_and_its_result_is_returned() -> None:
    world = World(lambda ctx: ctx.once("charge", world.effect()))
    assert (world.run({}), world.effects) == (["charged"], ["charged"])


def test_an_attempt_that_failed_after_its_effect_does_not_repeat_it() -> None:
    world = World(
        lambda ctx: (ctx.once("charge", world.effect()), boom()),
        lambda ctx: ctx.once("charge", lambda: pytest.fail("again")),
    )
    world.fails(ValueError, {})
    assert (world.run(), world.effects) == (["charged"], ["charged"])


def test_a_node_that_asks_after_its_effect_does_not_repeat_it() -> None:
    world = World(lambda ctx: [ctx.once("charge", world.effect()), interrupt("sure?")])
    world.run({})
    assert world.graph.invoke(Command(resume="yes"), "t")["log"] == [["charged", "yes"]]
    assert world.effects == ["charged"]


@pytest.mark.parametrize("result", [None, 0, {"id": [1, {"deep"}]}, b"bytes"])
def test_the_result_is_the_same_in_every_attempt(result: Any) -> None:
    once = lambda ctx: ctx.once("charge", lambda: result)  # noqa: E731 - done in two attempts
    world = World(lambda ctx: (once(ctx), boom()), once)
    world.fails(ValueError, {})
    assert world.run() == [result]


def test_effects_are_told_apart_by_name() -> None:
    world = World(
        lambda ctx: [ctx.once(name, world.effect(name)) for name in ("one", "two", "one")]
    )
    assert (world.run({}), world.effects) == ([["one", "two", "one"]], ["one", "two"])


def test_the_same_effect_in_another_step_is_another_one() -> None:
    world = World(lambda ctx: ctx.once("charge", world.effect()))
    world.run({})
    world.run({})
    assert world.effects == ["charged", "charged"]


@pytest.mark.parametrize("death", [Killed(), ConnectionResetError("no reply")])
def test_an_effect_that_was_begun_and_not_seen_to_end_is_not_repeated(death: Any) -> None:
    world = World(
        lambda ctx: ctx.once("charge", world.effect(then=death)),
        lambda ctx: ctx.once("charge", world.effect("again")),
    )
    world.fails(type(death), {})
    error = world.fails(UnknownEffectError)
    assert "the effect 'charge' of the step" in str(error)
    assert "(thread 't', node 'work') was begun by an earlier attempt" in str(error)
    assert "give once() a reconcile function" in str(error)
    assert error.code == "UNKNOWN_EFFECT"
    world.fails(UnknownEffectError)
    assert world.effects == ["charged"]


def test_who_can_find_out_what_happened_reconciles_and_is_asked_once() -> None:
    asked: list[str] = []

    def reconcile() -> str:
        asked.append("?")
        return "found"

    again = lambda ctx: ctx.once("charge", world.effect(), reconcile=reconcile)  # noqa: E731
    world = World(
        lambda ctx: ctx.once("charge", world.effect(then=Killed()), reconcile=reconcile),
        lambda ctx: (again(ctx), boom()),
        again,
    )
    world.fails(Killed, {})
    world.fails(ValueError)
    assert (world.run(), world.effects, asked) == (["found"], ["charged"], ["?"])


def test_a_reconcile_that_fails_is_asked_again() -> None:
    world = World(
        lambda ctx: ctx.once("charge", world.effect(then=Killed())),
        lambda ctx: ctx.once("charge", world.effect(), reconcile=boom),
        lambda ctx: ctx.once("charge", world.effect(), reconcile=lambda: "found"),
    )
    world.fails(Killed, {})
    world.fails(ValueError)
    assert (world.run(), world.effects) == (["found"], ["charged"])


def test_nobody_reconciles_what_was_not_begun() -> None:
    world = World(
        lambda ctx: ctx.once("charge", world.effect(), reconcile=lambda: pytest.fail("?"))
    )
    assert world.run({}) == ["charged"]


def test_a_result_that_cannot_be_stored_says_of_which_effect() -> None:
    world = World(lambda ctx: ctx.once("charge", object))
    error = world.fails(UnserializableValueError, {})
    assert "the result of the effect 'charge': value is a builtins.object" in str(error)


# ---- where a step goes on after a change of the state -----------------------------------------


def pause(*_: Any) -> None:
    raise InterruptedError("waiting")


goes_on = pytest.mark.parametrize(
    ("ends", "value"),
    [
        (pause, {"log": ["in"]}),
        (pause, None),
        (boom, Command(update={"log": ["in"]})),
        (lambda: interrupt("sure?"), Command(resume="yes", update={"log": ["in"]})),
    ],
    ids=["paused, input", "paused, none", "failed, command", "asking, command"],
)


@goes_on
def test_the_effect_of_a_step_that_goes_on_is_not_repeated(ends: Any, value: Any) -> None:
    world = World(
        lambda ctx: (ctx.once("charge", world.effect()), ends()),
        lambda ctx: ctx.once("charge", world.effect("again")),
    )
    with contextlib.suppress(InterruptedError, ValueError):
        world.run({})
    assert (world.run(value)[-1], world.effects) == ("charged", ["charged"])


def test_an_effect_is_not_repeated_however_often_its_step_goes_on() -> None:
    world = World(lambda ctx: (ctx.once("charge", world.effect()), pause()))
    for value in ({}, {"log": ["in"]}, Command(update={"log": ["in"]}), {"log": ["in"]}):
        world.fails(InterruptedError, value)
    assert world.effects == ["charged"]


@goes_on
def test_what_a_step_that_goes_on_had_drawn_is_the_same(ends: Any, value: Any) -> None:
    drawn: list[Any] = []
    draw = lambda ctx: drawn.append((ctx.now(), ctx.random(), ctx.uuid()))  # noqa: E731
    world = World(lambda ctx: (draw(ctx), ends()), draw)
    with contextlib.suppress(InterruptedError, ValueError):
        world.run({})
    world.run(value)
    assert drawn[0] == drawn[1]


@goes_on
def test_a_task_that_a_step_that_goes_on_had_completed_is_not_run_again(
    ends: Any, value: Any
) -> None:
    ran: list[int] = []

    @task
    def work(n: int) -> int:
        ran.append(n)
        return n + 1

    world = World(lambda ctx: (work(1).result(), ends()), lambda ctx: work(1).result())
    with contextlib.suppress(InterruptedError, ValueError):
        world.run({})
    assert (world.run(value)[-1], ran) == (2, [1])


# ---- time and chance ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "typ"), [("now", dt.datetime), ("random", float), ("uuid", uuid.UUID)]
)
def test_what_was_drawn_is_the_same_in_every_attempt_and_new_at_every_place(
    kind: str, typ: type
) -> None:
    draws: list[list[Any]] = []

    def draw(ctx: StepContext) -> None:
        draws.append([getattr(ctx, kind)(), getattr(ctx, kind)()])

    world = World(lambda ctx: (draw(ctx), boom()), draw)
    world.fails(ValueError, {})
    world.run()
    first, second = draws
    assert first == second
    assert all(type(value) is typ for value in first + second)
    assert kind == "now" or first[0] != first[1]


def test_what_is_drawn_in_one_step_is_not_what_is_drawn_in_another() -> None:
    drawn: list[uuid.UUID] = []
    world = World(lambda ctx: drawn.append(ctx.uuid()))
    world.run({})
    world.run({})
    assert drawn[0] != drawn[1]


def test_a_time_knows_its_zone_and_a_number_lies_between_0_and_1() -> None:
    seen: list[Any] = []
    World(lambda ctx: seen.append((ctx.now(), ctx.random()))).run({})
    ((now, chance),) = seen
    assert now.tzinfo is dt.UTC
    assert abs((dt.datetime.now(dt.UTC) - now).total_seconds()) < 60
    assert 0 <= chance < 1


# ---- where it stands ------------------------------------------------------------------------


def test_the_key_for_effects_outside_is_the_same_in_every_attempt_and_new_for_every_step() -> None:
    keys: list[tuple[str, int]] = []
    note = lambda ctx: keys.append((ctx.idempotency_key, ctx.attempt))  # noqa: E731
    world = World(lambda ctx: (note(ctx), boom()), note)
    world.fails(ValueError, {})
    world.run()
    world.run({})
    (one, first), (two, second), (three, _) = keys
    assert (one == two, first, second) == (True, 1, 2)
    assert three != one


def test_a_context_of_no_running_step_records_nothing() -> None:
    names = dict.fromkeys(("thread_id", "run_id", "node", "step_id", "worker"), "")
    context = StepContext(**names, number=0, attempt=1)
    for call in (context.now, context.random, context.uuid, lambda: context.once("a", boom)):
        with pytest.raises(RuntimeError, match="belongs to no running step"):
            call()


def test_the_time_is_that_of_the_clock_that_the_executor_was_given() -> None:
    clock = ManualClock(now_ms=1_000_000_000_123)
    seen: list[dt.datetime] = []
    builder = StateGraph(State).add_node("look", lambda state, ctx: seen.append(ctx.now()))
    graph = builder.add_edge(START, "look").compile(executor=InProcess(clock=clock))
    graph.invoke({})
    assert seen == [dt.datetime(2001, 9, 9, 1, 46, 40, 123_000, dt.UTC)]
