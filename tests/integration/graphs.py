"""The graphs that workers of the tests run.

Every node first writes a line to the ledger named in its state, whatever becomes of the attempt:
that file is a witness who knows nothing of checkpoints. Then it does what the script in its state
says for this attempt: wait, fail, die. What it returns does not depend on the script, so a run that
was disturbed must end like one that was not.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import hashlib
import json
import operator
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, TypedDict

from orchestrator import END, START, Command, RetryPolicy, Send, StateGraph, interrupt
from orchestrator.step.context import StepContext

GATE_WAIT_S = 60.0  # A test that forgot to open its gate fails; it does not hang.
POLL_S = 0.005
BOUND_S = 1.0  # How long a node of the graph `bounded` may take.
HOARD_BYTES = 1 << 28


def turn(_before: str, now: str) -> str:
    """Reduce to nothing; the first time do what is asked, as `act MARKER`.

    Reducers run while a superstep is advanced: all of its steps are committed, none is claimed.
    """
    verb, _, marker = now.partition(" ")
    if marker:
        try:
            with Path(marker).open("x", encoding="utf-8") as mark:
                mark.write(f"{os.getpid()}\n")
        except FileExistsError:
            return ""
        act(verb, "", Path(f"{marker}.open"))
    return ""


class State(TypedDict, total=False):
    """The state of all graphs here."""

    ledger: str  # The file of the witness.
    script: dict[str, list[str]]  # Node (and index, `piece:1`) → what its attempts do besides.
    width: int  # How many pieces there are.
    seen: Annotated[list[str], operator.add]
    total: Annotated[int, operator.add]
    turn: Annotated[str, turn]
    answer: Any
    steps: int


def witness(state: State, ctx: StepContext, name: str) -> None:
    """Write down that an attempt runs, then do what the script says for it."""
    line = {
        "t": time.clock_gettime(time.CLOCK_REALTIME),  # Right also where `time.time` is not.
        "thread": ctx.thread_id,
        "step": ctx.step_id,
        "name": name,
        "attempt": ctx.attempt,
        "worker": ctx.worker,
        "key": ctx.idempotency_key,
    }
    ledger = os.open(state["ledger"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(ledger, json.dumps(line).encode() + b"\n")
    finally:
        os.close(ledger)
    acts = state.get("script", {}).get(name, [])
    if ctx.attempt <= len(acts):
        verb, _, more = acts[ctx.attempt - 1].partition(" ")
        if verb == "doze":
            ctx.sleep(float(more))
        act(verb, more, gate_of(state["ledger"], more or name))


def gate_of(ledger: str, name: str) -> Path:
    """Return the file whose existence lets a waiting node go on."""
    return Path(f"{ledger}.{name}.open")


def act(verb: str, more: str, gate: Path) -> None:
    """Do as a script says: wait [GATE], sleep S, lock S, spin, grind, fail, lose, exit, die."""
    if verb == "wait":
        end = time.monotonic() + GATE_WAIT_S
        while not gate.exists():
            if time.monotonic() > end:
                msg = f"nobody opened {gate}"
                raise TimeoutError(msg)
            time.sleep(POLL_S)
    elif verb == "sleep":
        time.sleep(float(more))
    elif verb == "lock":  # PyDLL calls without giving the interpreter lock away.
        ctypes.PyDLL(None).sleep(int(more))
    elif verb == "grind":  # Native code that keeps a core busy and never returns.
        hashlib.pbkdf2_hmac("sha256", b"", b"", 2_000_000_000)
    elif verb == "spin":
        while True:
            pass
    elif verb == "hoard":
        with limited_memory(HOARD_BYTES):
            bytearray(2 * HOARD_BYTES)
    elif verb == "fail":
        raise ValueError("as the script says")
    elif verb == "lose":
        raise ConnectionError("as the script says")
    elif verb == "exit":
        sys.exit("as the script says")
    elif verb == "die":
        os.kill(os.getpid(), signal.SIGKILL)


@contextlib.contextmanager
def limited_memory(more_bytes: int) -> Iterator[None]:
    """Let this process have only so much more memory."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    limit = pages * resource.getpagesize() + more_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def node(name: str) -> Any:
    """Return a node that adds its name to what was seen."""

    def run(state: State, ctx: StepContext) -> State:
        witness(state, ctx, name)
        return {"seen": [name], "total": 1}

    run.__name__ = name
    return run


def fan_out(state: State) -> list[Send]:
    """Send every piece, with what its node needs."""
    shared = {"ledger": state["ledger"], "script": state.get("script", {})}
    return [Send("piece", {**shared, "index": index}) for index in range(state.get("width", 3))]


def piece(part: dict[str, Any], ctx: StepContext) -> State:
    """Work on one piece."""
    name, script = f"piece:{part['index']}", part["script"]
    witness(State(ledger=part["ledger"], script=script), ctx, name)
    asked = {"turn": f"{act} {part['ledger']}.turn" for act in script.get("turn", ())}  # noqa: B035 - at most one act
    return State(seen=[name], total=10, **asked)


# ---- everything a graph can say ---------------------------------------------------------


async def collect(state: State, ctx: StepContext) -> Command:
    """Steer from an async node."""
    witness(state, ctx, "collect")
    return Command(goto="ask", update={"seen": ["collect"], "steps": len(state["seen"])})


def ask(state: State, ctx: StepContext) -> State:
    """Ask somebody."""
    witness(state, ctx, "ask")
    return {"answer": interrupt({"seen": len(state["seen"])}), "seen": ["ask"]}


def _tour() -> StateGraph:
    builder = StateGraph(State)
    for name in ("plan", "left", "right", "join"):
        builder.add_node(name, node(name))
    builder.add_node("piece", piece, input_schema=dict)
    builder.add_node("collect", collect)
    builder.add_node("ask", ask)
    builder.add_edge(START, "plan")
    builder.add_edge("plan", "left")
    builder.add_edge("plan", "right")
    builder.add_edge(["left", "right"], "join")
    builder.add_conditional_edges("join", fan_out, ["piece"])
    builder.add_edge("piece", "collect")
    builder.add_edge("ask", END)
    return builder


def _row(*names: str, queues: dict[str, str] | None = None) -> StateGraph:
    builder = StateGraph(State)
    for before, name in zip((START, *names), names, strict=False):
        builder.add_node(name, node(name), queue=(queues or {}).get(name))
        builder.add_edge(before, name)
    return builder


def _nested() -> StateGraph:
    builder = StateGraph(State)
    builder.add_node("sub", _row("inner").compile())
    builder.add_edge(START, "sub")
    return builder


def _layered() -> StateGraph:
    builder = StateGraph(State)
    builder.add_node("first", node("first"))
    builder.add_node("sub", _row("inner", "gpu", queues={"gpu": "gpu"}).compile())
    builder.add_node("piece", piece, input_schema=dict)
    builder.add_node("last", node("last"))
    builder.add_edge(START, "first").add_edge("first", "sub")
    builder.add_conditional_edges("sub", fan_out, ["piece"])
    return builder.add_edge("piece", "last")


def _fan() -> StateGraph:
    builder = StateGraph(State)
    builder.add_node("split", node("split"))
    builder.add_node("piece", piece, input_schema=dict)
    builder.add_node("gather", node("gather"))
    builder.add_edge(START, "split")
    builder.add_conditional_edges("split", fan_out, ["piece"])
    builder.add_edge("piece", "gather")
    return builder


def _patient() -> StateGraph:
    builder = StateGraph(State)
    policy = RetryPolicy(initial_interval=1.0, backoff_factor=1.0, max_attempts=3, jitter=False)
    builder.add_node("try", node("try"), retry_policy=policy)
    builder.add_node("after", node("after"))
    builder.add_edge(START, "try")
    builder.add_edge("try", "after")
    return builder


def _bounded() -> StateGraph:
    async def wait(state: State, ctx: StepContext) -> State:
        witness(state, ctx, "wait")
        if ctx.attempt == 1:
            await asyncio.sleep(GATE_WAIT_S)
        return {"seen": ["wait"], "total": 1}

    builder = StateGraph(State)
    policy = RetryPolicy(initial_interval=0.1, max_attempts=3, jitter=False)
    for name, action in ("spin", node("spin")), ("wait", wait):
        builder.add_node(name, action, timeout=BOUND_S, retry_policy=policy)
    builder.add_edge(START, "spin")
    builder.add_edge("spin", "wait")
    return builder


def _opaque() -> StateGraph:
    def make(state: State, ctx: StepContext) -> dict[str, Any]:
        witness(state, ctx, "make")
        return {"answer": {"deep": [object() if ctx.attempt == 1 else "plain"]}}

    builder = StateGraph(State)
    builder.add_node("make", make)
    builder.add_edge(START, "make")
    return builder


def _ticker(dispatch: Any = None) -> StateGraph:
    def tick(state: State) -> State:
        return {"total": 1}

    def further(state: State) -> str:
        return "tick" if state["total"] < state["width"] else END

    builder = StateGraph(State)
    builder.add_node("tick", tick, dispatch=dispatch)
    builder.add_edge(START, "tick")
    builder.add_conditional_edges("tick", further, ["tick", END])
    return builder


def _relay() -> StateGraph:
    def carry(name: str) -> Any:
        def run(state: State, ctx: StepContext) -> State:
            witness(state, ctx, name)
            numbers = [int(item[:4]) for item in state["seen"]]
            assert numbers == list(range(len(numbers))), numbers
            state["seen"].clear()  # What a node does to what it was given is nobody's business.
            return {"seen": [f"{len(numbers):04}" * 1000], "total": 1}

        return run

    def further(state: State) -> str:
        return "here" if state["total"] < state["width"] else END

    builder = StateGraph(State)
    builder.add_node("here", carry("here")).add_node("there", carry("there"), queue="cpu")
    builder.add_edge(START, "here").add_edge("here", "there")
    return builder.add_conditional_edges("there", further, ["here", END])


tour = _tour().compile(name="tour")
row = _row("one", "two", "three").compile(name="row")
longer_row = _row("one", "two", "three", "four").compile(name="row")
fan = _fan().compile(name="fan")
placed = _row("here", "there", "back", queues={"there": "cpu"}).compile(name="placed")
patient = _patient().compile(name="patient")
bounded = _bounded().compile(name="bounded")
opaque = _opaque().compile(name="opaque")
ticker = _ticker().compile(name="ticker")  # As many quick steps as it is wide.
hopper = _ticker("queue").compile(name="hopper")  # The same by messages, whatever the workers say.
relay = _relay().compile(name="relay")  # By turns on two queues, a growing list in its hands.
nested = _nested().compile(name="nested")
layered = _layered().compile(name="layered")
urgent = _layered().compile(name="urgent", queue="urgent")
