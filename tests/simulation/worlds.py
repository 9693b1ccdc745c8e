"""One simulated world from its seed to its end, and what must be true there."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from orchestrator import START, StateGraph, limits
from orchestrator.client.calls import Calls
from orchestrator.engine.accept import RunConfig
from orchestrator.errors import CheckpointerUnavailableError, ThreadBusyError
from orchestrator.model.checkpoint import RunStatus
from tests.simulation.clients import Client, Scenario
from tests.simulation.faults import Faults, Violation
from tests.simulation.fleet import QUEUES, Fleet
from tests.simulation.graphs import SCRIBBLE, Graph, State, node_of
from tests.simulation.world import Process, World

__all__ = ["Outcome", "simulate"]

_SCENARIOS = 60  # How many there are for neighbouring worlds: each takes a while to prepare.
_NEIGHBOURS = 500
_SMALL = {  # So small that the limits are felt.
    "SWEEP_BATCH_MAX": 4,
    "LIST_WHOLE_BYTES_MAX": 4,
    "TAIL_BYTES_MIN": 2,
    "NAMED_BYTES_MIN": 3,
}
_REST_MS = 600_000  # How long after the last fault everything must have ended.
_PULSE_MS = 1_000


@dataclass(slots=True)
class Outcome:
    """What became of a world."""

    counts: Counter[str]
    trace: list[str] | None = None
    error: str = ""
    simulated_ms: int = 0


class _Life(World):
    """A world with what nodes find outside of their graphs."""

    def __init__(self, seed: int, faults: Faults, *, traced: bool = False) -> None:
        super().__init__(seed, faults, traced=traced)
        self._wanting: dict[str, set[str]] = {}
        self._granted: dict[str, set[str]] = {}
        self._paid: Counter[str] = Counter()

    def granted(self, thread_id: str, name: str) -> bool:
        """Return whether a node may pass; if not, that it wants to is known."""
        if name in self._granted.get(thread_id, ()):
            return True
        self._wanting.setdefault(thread_id, set()).add(name)
        return False

    def grant(self, thread_id: str) -> None:
        """Let all pass that wanted to."""
        self._granted.setdefault(thread_id, set()).update(self._wanting.get(thread_id, ()))

    def pay(self, key: str) -> str:
        """Do what must not be done twice."""
        self._paid[key] += 1
        if self._paid[key] > 1:
            self.wrong("INV-5", f"an effect happened twice: {key}")
        return "paid"


@lru_cache(maxsize=1)
def _pulse() -> Graph:
    """Return the graph of the traffic by which a queue shows that messages were lost."""
    builder: Any = StateGraph(State)
    builder.add_node("one", node_of("one", "plain"))
    builder.add_node("two", node_of("two", "plain"), queue="others")
    builder.add_edge(START, "one").add_edge("one", "two")
    return Graph(builder.compile(name="pulse"), "one")


@lru_cache(maxsize=2 * _SCENARIOS)
def _scenario(number: int) -> Scenario:
    return Scenario.of(number)


@lru_cache(maxsize=2 * _SCENARIOS)
def _expected(number: int) -> Any:
    """Return the state a scenario leaves that nothing disturbs."""
    scenario = _scenario(number)
    calm = Scenario(number, scenario.graph, scenario.acts, cancels=False, rude=False)
    world = _Life(number, Faults())
    random.seed(number)
    fleet, clients = _peopled(world, [calm], 1)
    try:
        _live(world, fleet, clients)
    except Violation as broken:
        raise Violation(f"{broken}, and that undisturbed (scenario {number})") from broken
    return _state(fleet, clients[0])


def simulate(seed: int, *, traced: bool = False) -> Outcome:
    """Live a world through; a promise that is broken is told in the outcome."""
    chance = random.Random(f"world {seed}")
    first = seed // _NEIGHBOURS * _SCENARIOS
    numbers = [first + chance.randrange(_SCENARIOS) for _ in range(chance.randint(2, 6))]
    scenarios = [_scenario(number) for number in numbers]
    world = _Life(seed, Faults.drawn(chance), traced=traced)
    outcome = Outcome(world.counts, world.trace)
    try:
        expected = [_expected(s.number) if s.certain else None for s in scenarios]
        random.seed(seed)  # What the engine draws: jitter.
        fleet, clients = _peopled(world, scenarios, chance.randint(1, 3))
        _live(world, fleet, clients)
        for client, state in zip(clients, expected, strict=True):
            _check_end(fleet, client, state)
    except Violation as broken:
        outcome.error = str(broken)
    outcome.simulated_ms = world.clock.now_ms() - world.began_ms
    return outcome


def _peopled(world: World, scenarios: list[Scenario], machines: int) -> tuple[Fleet, list[Client]]:
    graphs = {s.graph.compiled.name: s.graph.compiled for s in scenarios}
    graphs["pulse"] = _pulse().compiled
    fleet = Fleet(world, graphs, machines)
    clients = [Client(fleet, s, f"t{place}") for place, s in enumerate(scenarios)]
    _start_pulse(world, fleet)
    return fleet, clients


def _start_pulse(world: World, fleet: Fleet) -> None:
    process = world.spawn("pulse", lambda process: _beat(process, fleet))
    process.after = lambda: world.later(_PULSE_MS, lambda: _start_pulse(world, fleet))


def _beat(process: Process, fleet: Fleet) -> None:
    """Keep both queues moving: what was sent before a message that was taken has left its queue."""
    store, compiled = fleet.seam(process), _pulse().compiled
    calls = Calls(store, compiled.records, QUEUES[0], clock=process)
    send = fleet.dispatch(process, store)
    thread = number = 0
    while True:
        process.sleep_ms(_PULSE_MS)
        number += 1
        config = RunConfig(run_id=f"pulse{number}", fingerprint=compiled.spec.fingerprint)
        try:
            send(calls.accept(f"p{thread}", "pulse", {"log": []}, config)[1])
        except CheckpointerUnavailableError:
            continue
        except ThreadBusyError:
            thread += 1  # Its own message may be the one that was lost.


def _live(world: World, fleet: Fleet, clients: list[Client]) -> None:
    """Let a world go on until its clients have finished.

    Raises:
        Violation: if they do not, or a promise is broken on the way.
    """
    usual = {name: getattr(limits, name) for name in _SMALL}
    calm_ms = world.began_ms + world.faults.calm_after_ms
    try:
        vars(limits).update(_SMALL)
        if world.run(calm_ms):
            return
        world.calm = True
        if not world.run(calm_ms + _REST_MS):
            late = [_described(fleet, client) for client in clients if not client.finished]
            raise Violation(f"INV-7: not at rest {_REST_MS} ms after the last fault: {late}")
    finally:
        vars(limits).update(usual)
        world.end()


def _described(fleet: Fleet, client: Client) -> str:
    thread = fleet.store._threads.get(client.thread_id)
    if thread is None:
        return f"{client.thread_id} was never stored"
    steps = [
        f"{s.ready.node}: wait={s.wait} owner={s.owner} sent={s.sent_ms >= 0} reason={s.reason}"
        for s in thread.steps.values()
        if s.ready.step_id not in thread.done
    ]
    head, act = thread.head, client.scenario.acts[client.done]
    return f"{client.thread_id} ({act}) is {head.status}, open {head.open}: {steps}"


def _state(fleet: Fleet, client: Client) -> Any:
    """Return the state of a client's thread."""
    loaded = fleet.store.load(client.thread_id)
    assert loaded is not None
    records = client.scenario.graph.compiled.records
    checkpoint = records.checkpoint(loaded.checkpoint.header, loaded.checkpoint.plan)
    return dict(records.values(checkpoint, loaded.blobs))


def _check_end(fleet: Fleet, client: Client, expected: Any) -> None:
    """Hold the end of a thread against that of the undisturbed one. (INV-6)"""
    accounts, thread_id = fleet.accounts, client.thread_id
    thread = fleet.store._threads[thread_id]
    if thread.head.status is not RunStatus.SUCCEEDED or thread.line:
        raise Violation(f"INV-7: {_described(fleet, client)}")
    state = _state(fleet, client)
    if SCRIBBLE in state["log"] or SCRIBBLE in state["count"]:
        raise Violation(f"INV-4: a node's scribbles became part of the state: {state}")
    if expected is None or (thread_id in accounts.given_up and "queue" in client.scenario.acts):
        return
    if state != expected:
        number = client.scenario.number
        raise Violation(f"INV-6: scenario {number}, {thread_id}: {state}\n  is not {expected}")
