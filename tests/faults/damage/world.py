"""A deployment in this process on a real server: messages, steps, sweeps and audits one at a time.

Nothing runs by itself, so a thread stands still in the state that a test wants to damage.
"""

from __future__ import annotations

import json
import operator
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Annotated, Any, TypedDict

from orchestrator import END, START, RetryPolicy, Send, StateGraph, interrupt
from orchestrator.client.client import Client
from orchestrator.client.graph import CompiledStateGraph
from orchestrator.config import Settings
from orchestrator.dispatch.broker import dispatcher, open_store
from orchestrator.dispatch.message import celery_template
from orchestrator.errors import StateCorruptedError
from orchestrator.maintenance.auditor import Auditor
from orchestrator.maintenance.sweeper import Sweeper
from orchestrator.model.audit import Damage
from orchestrator.model.checkpoint import RunStatus
from orchestrator.model.commit import LoadedThread, ReadyStep
from orchestrator.step import superstep
from orchestrator.step.report import Report
from orchestrator.step.runner import StepRunner
from orchestrator.step.store_access import Access
from workers.process import WorkerProcess

__all__ = ["GRAPH", "STAGES", "THREAD", "World"]

THREAD = "t"
FINISH_S = 20.0  # Only what hangs takes as long.
acts: dict[str, str] = {}  # Node → what it does besides: ask, pause, fail, retry. Of one world.


class State(TypedDict, total=False):
    """What all nodes add to."""

    log: Annotated[list[str], operator.add]


def act(name: str) -> list[str]:
    """Do what the world wants of a node; return what the node adds to the state."""
    wanted = acts.get(name)
    if wanted == "ask":
        return [f"{name}: {interrupt(f'{name}?')}"]
    if wanted == "pause":
        raise InterruptedError("somebody should look")
    if wanted == "fail":
        raise ValueError("as the test says")
    if wanted == "retry":
        raise ConnectionError("as the test says")
    return [name]


def node(name: str) -> Callable[[State], State]:
    """Return a node that adds its name."""

    def run(_: State) -> State:
        return {"log": act(name)}

    return run


def piece(number: int) -> State:
    """Work on what was sent."""
    return {"log": act(f"piece:{number}")}


def fan_out(_: State) -> list[Send]:
    """Send three pieces."""
    return [Send("piece", number) for number in range(3)]


def _graph() -> CompiledStateGraph:
    inner = StateGraph(State)
    inner.add_node("one", node("one")).add_node("two", node("two"))
    inner.add_edge(START, "one").add_edge("one", "two").add_edge("two", END)
    builder = StateGraph(State)
    policy = RetryPolicy(initial_interval=0.05, backoff_factor=1.0, max_attempts=50, jitter=False)
    builder.add_node("first", node("first"), retry_policy=policy)
    builder.add_node("piece", piece, input_schema=int)
    builder.add_node("gather", node("gather"))
    builder.add_node("sub", inner.compile(name="inner"))
    builder.add_node("last", node("last"))
    builder.add_edge(START, "first")
    builder.add_conditional_edges("first", fan_out, ["piece"])
    builder.add_edge("piece", "gather").add_edge("gather", "sub").add_edge("sub", "last")
    return builder.compile(name="g")


GRAPH = _graph()
TEMPLATE = celery_template()


class World:
    """One thread, and all that would move it on."""

    def __init__(self, settings: Settings) -> None:
        """Begin with an empty deployment."""
        acts.clear()
        self.settings = replace(settings, lease_ttl_s=0.3, hint_grace_s=0.1, partitions=1)
        self.store = open_store(self.settings, TEMPLATE)
        self.redis = self.store.client
        self.client = Client(graphs={"g": GRAPH}, settings=self.settings)
        self.prefix, self.own = self.store.keys.of_thread(THREAD)
        self.runtime = self.worker("host:1:worker")
        dispatch = dispatcher(self.store, self.settings)
        self.sweeper = Sweeper(self.store, dispatch, "sweeper")
        self.auditor = Auditor(self.store)
        self.found: list[Damage] = []
        self.thread = THREAD  # The one that is damaged; a subgraph's has another name.

    @property
    def queue(self) -> str:
        """The default queue, as the broker knows it."""
        return self.settings.queue_prefix + self.settings.queue

    def worker(self, owner: str) -> WorkerProcess:
        """Return a process that does steps."""
        dispatch = dispatcher(self.store, self.settings)
        access = Access(self.store, owner)
        return WorkerProcess(access, {"g": GRAPH}, self.settings.queue, dispatch, pushes=True)

    def close(self) -> None:
        """Give back connections."""
        self.client.close()
        self.store.close()

    # ---- moving on ------------------------------------------------------------------------

    def submit(self, *more: str) -> None:
        """Start a run, and let others wait in line."""
        self.client.submit(GRAPH, {"log": ["in"]}, thread_id=THREAD)
        for name in more:
            strategy = {"multitask_strategy": "enqueue"}
            self.client.submit(GRAPH, {"log": [name]}, thread_id=THREAD, **strategy)

    def messages(self) -> list[dict[str, Any]]:
        """Take all messages off the queue."""
        taken = []
        while (raw := self.redis.rpop(self.queue)) is not None:
            taken.append(json.loads(raw))
        return taken

    def run(self, *, hold: Iterable[str] = ()) -> int:
        """Do the steps whose messages wait, and what follows, but not these nodes'."""
        held, ran = [], 0
        while taken := self.messages():
            for message in taken:
                named = re.search(r":\d+:(\w+(:\d+)?)$", message["headers"]["id"])
                assert named is not None
                if named[1] in hold:
                    held.append(json.dumps(message))
                    continue
                given = json.loads(message["body"])[1]
                self.runtime.run(given["thread"], given["step"], given["sent"])
                ran += 1
        if held:
            self.redis.lpush(self.queue, *held)
        return ran

    def claim(self, name: str, owner: str = "host:2:dead") -> None:
        """Let another process claim the step of a node, and never be heard of again."""
        step = self.step(name)
        taken = self.store.claim(self.thread, step, owner=owner, token="token")
        assert taken.refused is None, taken

    def step(self, name: str) -> str:
        """Return the id of the step of a node, or of a piece."""
        node_name, _, index = name.partition(":")
        return next(
            step_id
            for step_id, step in self.load().steps.items()
            if step.step.node == node_name and step.step.index == int(index or -1)
        )

    def load(self) -> LoadedThread:
        """Return the thread that is damaged."""
        loaded = self.store.load(self.thread)
        assert loaded is not None
        return loaded

    @property
    def status(self) -> RunStatus:
        """Return what the run is doing."""
        loaded = self.store.load(THREAD, values=False)
        assert loaded is not None
        return loaded.head.status

    # ---- looking --------------------------------------------------------------------------

    def audit(self) -> list[Damage]:
        """Look at every thread once."""
        found = self.auditor.all().found
        self.found += found
        return list(found)

    def finish(self) -> list[str]:
        """Bring the thread to its end, whatever it takes; return its state."""
        end = time.monotonic() + FINISH_S
        while True:
            assert time.monotonic() < end, f"the thread stands still: {self._stand()}"
            self.sweeper.once()
            if self.run():
                continue
            status, loaded = self.status, self.store.load(THREAD)
            assert loaded is not None
            if status is RunStatus.SUCCEEDED and not loaded.line:
                return list(self.client.get_state(THREAD).values["log"])
            self._help(status)
            time.sleep(0.01)

    def _help(self, status: RunStatus) -> None:
        """Do what a person would."""
        if status in {RunStatus.PAUSED, RunStatus.FAILED}:
            acts_now = {name: what for name, what in acts.items() if what == "ask"}
            acts.clear()
            acts.update(acts_now)
            questions = self.client.questions(THREAD)
            if questions:
                self.client.resume(THREAD, dict.fromkeys(questions, "yes"))
            else:
                self.client.carry_on(THREAD)

    def _stand(self) -> str:
        try:
            return repr(self.store.load(THREAD, values=False))
        except StateCorruptedError as error:
            return str(error)


def advance_nothing(_: StepRunner, __: str) -> Report:
    """Be a process that dies before it advances."""
    return Report()


def begin_nothing(*_: object) -> tuple[ReadyStep, ...]:
    """Be a process that dies before it lets the next run begin."""
    return ()


# ---- the states of a thread that are damaged -----------------------------------------------


def queued(world: World) -> None:
    """Nothing has run."""
    world.submit()


def ready(world: World) -> None:
    """A step alone in its superstep is ready."""
    world.submit()
    world.run(hold=["first"])


def claimed(world: World) -> None:
    """It is claimed, by a process that is gone."""
    ready(world)
    world.claim("first")
    world.messages()


def retrying(world: World) -> None:
    """It failed and waits for its timer."""
    acts["first"] = "retry"
    world.submit()
    world.run()
    del acts["first"]


def asking(world: World) -> None:
    """It asks, and the run is paused."""
    acts["gather"] = "ask"
    world.submit()
    world.run()


def paused(world: World) -> None:
    """A node paused the run."""
    acts["gather"] = "pause"
    world.submit()
    world.run()


def failed(world: World) -> None:
    """A node failed for good."""
    acts["gather"] = "fail"
    world.submit()
    world.run()


def half(world: World) -> None:
    """Of three steps one is completed, one asks, one is ready."""
    acts["piece:1"] = "ask"
    world.submit()
    world.run(hold=["piece:2"])


def settled(world: World) -> None:
    """All steps of a superstep are completed, and nobody has advanced it."""
    world.submit()
    world.run(hold=["piece:2"])
    real, StepRunner.advance = StepRunner.advance, advance_nothing  # type: ignore[method-assign]
    try:
        world.run()
    finally:
        StepRunner.advance = real  # type: ignore[method-assign]


def child(world: World) -> None:
    """A subgraph runs; its step is ready, and the step around it waits."""
    world.submit()
    world.run(hold=["one"])
    step = world.step("sub")
    world.thread = f"{THREAD}\x1fsub:{step}"
    world.prefix, world.own = world.store.keys.of_thread(world.thread)


def in_line(world: World) -> None:
    """A run is active, and two wait."""
    world.submit("second", "third")
    world.run(hold=["first"])


def over(world: World) -> None:
    """A run has ended, and the next in line has not begun."""
    world.submit("second")
    real, superstep.begin_next = superstep.begin_next, begin_nothing
    try:
        world.run()
    finally:
        superstep.begin_next = real


STAGES: dict[str, Callable[[World], None]] = {
    stage.__name__: stage
    for stage in (
        *(
            queued,
            ready,
            claimed,
            retrying,
            asking,
            paused,
            failed,
            half,
            settled,
            child,
            in_line,
            over,
        ),
    )
}
