"""Async programs that are cancelled, left, or fail, at a point that is drawn; in both libraries.

No step waits for time: what is to happen later waits for all to have begun, and whatever would wait
for ever waits for a gate that opens before the second call.
"""

from __future__ import annotations

import asyncio
import contextlib
import operator
from dataclasses import dataclass, field
from typing import Annotated, Any, TypedDict

from hypothesis import strategies as st

from tests.property.plans import END, START, BoomError, Brief
from tests.property.whole import Plain, error_of

SETTLED_S = 0.03  # In which quick steps end: each library has an event loop of its own for them.
PATIENCE_S = 2  # For what should end at once; met only where it does not.
KINDS = ("quick", "quick", "waits", "waits", "cleans", "fails", "sync", "asks")


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]


@dataclass(frozen=True, repr=False)
class Program(Brief):
    """Steps side by side, how they are called, and what ends the call."""

    kinds: tuple[str, ...]
    ends: str = "itself"  # itself | cancel | timeout | leave
    face: str = "ainvoke"
    inner: bool = False  # Whether the steps are those of a subgraph.
    keeps: bool = True
    after: str = "resume"  # What is called next: resume | input
    sends: bool = False  # Whether the steps are sent.
    limit: int | None = None


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """Draw a program."""
    kinds = tuple(draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=4)))
    waits = {"waits", "cleans"} & {*kinds}
    ends = draw(
        st.sampled_from(
            ["cancel", "timeout", "leave"] if waits and "fails" not in kinds else ["itself"]
        )
    )
    return Program(
        kinds,
        ends,
        "astream" if ends == "leave" else draw(st.sampled_from(["ainvoke", "astream", "abatch"])),
        draw(st.booleans()),
        draw(st.integers(0, 3)) > 0,
        draw(st.sampled_from(["resume", "resume", "input"])),
        draw(st.booleans()),
        draw(st.sampled_from([None, None, None, 50])),
    )


@dataclass
class Run:
    """A program in one library, and what its steps noted."""

    program: Program
    library: Any
    noted: list[tuple[str, str]] = field(default_factory=list)
    begun: int = 0
    again: bool = False  # Whether this is the second call.

    def __post_init__(self) -> None:
        self.started, self.gate = asyncio.Event(), asyncio.Event()
        expected = sum(kind != "sync" for kind in self.program.kinds)
        self.expected = expected

    def node(self, name: str, kind: str) -> Any:
        """Return a step of a kind."""

        async def work(state: Any) -> Any:
            self.noted.append((name, "began"))
            self.begun += 1
            if self.begun >= self.expected:
                self.started.set()
            try:
                await self._work(kind)
            except asyncio.CancelledError:
                self.noted.append((name, "cancelled"))
                if kind == "cleans":
                    await asyncio.sleep(0)
                    self.noted.append((name, "cleaned"))
                raise
            if kind == "asks":
                return {"log": [self.library.interrupt(f"{name}?")]}
            self.noted.append((name, "ended"))
            return {"log": [name]}

        def sync(state: Any) -> Any:
            self.noted.append((name, "began"))
            self.noted.append((name, "ended"))
            return {"log": [name]}

        return sync if kind == "sync" else work

    async def _work(self, kind: str) -> None:
        if self.again or kind in {"quick", "asks"}:
            return
        if kind in {"waits", "cleans"}:
            async with asyncio.timeout(PATIENCE_S):
                await self.gate.wait()
        if kind == "fails":
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.1):
                    await self.started.wait()
            await asyncio.sleep(SETTLED_S)
            raise BoomError

    def build(self) -> Any:
        """Return the graph."""
        library, program = self.library, self.program
        builder = library.StateGraph(State)
        names = [f"n{index}" for index in range(len(program.kinds))]
        for name, kind in zip(names, program.kinds, strict=True):
            builder.add_node(name, self.node(name, kind))
            builder.add_edge(name, "z")
            if not program.sends:
                builder.add_edge(START, name)
        if program.sends:
            builder.add_conditional_edges(
                START, lambda _: [library.Send(name, {"log": []}) for name in names], names
            )
        builder.add_node("z", lambda _: {"log": ["z"]}).add_edge("z", END)
        saver = library.checkpointer() if program.keeps else None
        if not program.inner:
            return builder.compile(checkpointer=saver)
        outer = library.StateGraph(State).add_node("inner", builder.compile())
        return outer.add_edge(START, "inner").compile(checkpointer=saver)


async def observed(program: Program, library: Any) -> dict[str, Any]:
    """Run a program; return all that can be seen of it."""
    run = Run(program, library)
    graph, config = run.build(), {"configurable": {"thread_id": "t"}}
    if program.limit:
        config["max_concurrency"] = program.limit
    plain = Plain().plain
    found: dict[str, Any] = {"first": await _ended(run, graph, {"log": ["in"]}, config)}
    found["noted"] = sorted(run.noted)
    if program.keeps:
        found["then"] = plain(_view(await graph.aget_state(config, subgraphs=True)))
        run.again = True
        run.gate.set()
        run.noted.clear()
        value = None if program.after == "resume" else {"log": ["more"]}
        found["second"] = await _ended(run, graph, value, config, calm=True)
        found["noted again"] = sorted(run.noted)
        found["at last"] = plain(_view(await graph.aget_state(config, subgraphs=True)))
    return found


def _view(state: Any) -> Any:
    tasks = sorted(state.tasks, key=lambda t: (t.name, str(t.path)))
    return {
        "values": state.values,
        "next": sorted(state.next),
        "tasks": [
            [
                t.name,
                t.error is not None,
                t.result,
                [i.value for i in t.interrupts],
                _view(t.state) if hasattr(t.state, "values") and hasattr(t.state, "next") else None,
            ]
            for t in tasks
        ],
    }


async def _ended(run: Run, graph: Any, value: Any, config: Any, *, calm: bool = False) -> Any:
    parts: list[Any] = []
    task = asyncio.ensure_future(_called(run, graph, value, config, parts, calm))
    if run.program.ends == "cancel" and not calm:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                await run.started.wait()
        await asyncio.sleep(SETTLED_S)
        task.cancel()
    try:
        returned = await task
    except BaseException as error:  # noqa: BLE001 - also that it was cancelled
        return error_of(error)
    plain = Plain().plain
    return plain(returned) if returned is not None else sorted(map(str, plain(parts)))


async def _called(
    run: Run, graph: Any, value: Any, config: Any, parts: list[Any], calm: bool
) -> Any:
    program = run.program
    if program.face == "astream":
        stream = graph.astream(value, config, stream_mode="tasks")
        async for part in stream:
            parts.append((part["name"], "result" in part))
            if program.ends == "leave" and not calm and run.begun >= run.expected:
                await asyncio.sleep(SETTLED_S)
                await stream.aclose()
                break
        return None
    call = graph.ainvoke if program.face == "ainvoke" else graph.abatch
    args = (value, config) if program.face == "ainvoke" else ([value], [config])
    if program.ends == "timeout" and not calm:
        return await asyncio.wait_for(call(*args), 0.2)
    return await call(*args)
