"""How calls, and the graphs that they are made on, are drawn at random.

The graphs are plainer than those of `drawn`: what is compared here is not how they run but what a
caller sees of them.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from tests.property.plans import END, START, Brief, GraphPlan, NodePlan, RouterPlan, Target
from tests.property.sessions import Call
from tests.property.views import DURABILITIES

THREAD_IDS = ("t", 7, uuid.UUID(int=12), 1.5, "a b/c")
MODES = ("values", "updates", "tasks", "custom", "checkpoints", "debug", "messages")
FORMS = ("def", "def", "object", "partial", "runnable", "method")


@dataclass(frozen=True, repr=False)
class Scene(Brief):
    """A graph, how it is compiled and configured, and the calls that are made on it."""

    plan: GraphPlan
    calls: tuple[Call, ...]
    thread_id: Any = "t"
    keeps: bool = True
    bound: Any = None  # What `with_config` is given.


@st.composite
def graphs(
    draw: st.DrawFn, depth: int = 1, prefix: str = "", faces: tuple[str, ...] = FORMS, asks: int = 1
) -> GraphPlan:
    """Draw a graph whose steps lead forward."""
    size = draw(st.integers(1, 2 if prefix else 4))
    names = draw(st.permutations([prefix + c for c in "abcd"[:size]]))
    nodes = tuple(draw(nodes_of(name, names, depth, bool(prefix), faces, asks)) for name in names)
    edges = [(START, names[0])]
    for index, name in enumerate(names):
        later = [*names[index + 1 :], END]
        if index + 1 < len(names):
            edges.append((draw(st.sampled_from([START, *names[: index + 1]])), names[index + 1]))
        if draw(st.booleans()):
            edges.append((name, draw(st.sampled_from(later))))
    routers = []
    if draw(st.integers(0, 3)) == 0:
        at = draw(st.integers(-1, len(names) - 1))
        later = names[at + 1 :] or [END]
        target = st.builds(Target, st.sampled_from(later))
        if later != [END]:
            target |= st.builds(Target, st.sampled_from(later), st.just(2))
        choice = tuple(draw(st.lists(target, min_size=1, max_size=2)))
        source = names[at] if at >= 0 else START
        routers.append(RouterPlan(source, f"{prefix}r", (choice,), draw(st.booleans())))
    stops = st.sampled_from([()] * 8 + [(names[-1],), ("*",)])
    return GraphPlan(
        nodes,
        tuple(dict.fromkeys(edges)),
        routers=tuple(routers),
        before=draw(stops) if not prefix else (),
        after=draw(stops) if not prefix else (),
        schema="inner" if prefix else draw(st.sampled_from(["bounded"] * 4 + ["model", "record"])),
    )


@st.composite
def nodes_of(
    draw: st.DrawFn,
    name: str,
    names: list[str],
    depth: int,
    inner: bool,
    faces: tuple[str, ...],
    asks: int,
) -> NodePlan:
    kinds = ["plain"] * 4 + ["asks"] * asks + ["says", "command", "fails", "retry", "goes"]
    kinds += ["sub"] * 4 if depth else []
    kind = draw(st.sampled_from(kinds))
    keys = draw(
        st.sampled_from(
            [("log",), ("log",), ("log", "last"), ("own", "log") if inner else ("log", "total"), ()]
        )
    )
    later = names[names.index(name) + 1 :]
    return NodePlan(
        name,
        keys,
        says=int(kind == "says"),
        asks=int(kind == "asks"),
        fails=int(kind in {"fails", "retry"}),
        attempts=2 if kind == "retry" else 0,
        goto=(Target(draw(st.sampled_from(later))),) if kind == "goes" and later else (),
        shape="command" if kind == "command" else "dict",
        sub=draw(graphs(depth - 1, name, faces, asks)) if kind == "sub" else None,
        keeps=draw(st.sampled_from([None, None, None, True, False])) if kind == "sub" else None,
        form=draw(st.sampled_from(faces)),
    )


@st.composite
def scenes(draw: st.DrawFn, *, places: bool = False, listens: bool = False) -> Scene:
    """Draw a graph and calls on it."""
    faces = draw(st.sampled_from([("invoke", "stream", "batch"), ("ainvoke", "astream", "abatch")]))
    forms = FORMS if faces[0] == "invoke" else (*FORMS, "async", "async")
    plan = draw(graphs(draw(st.integers(1 if places else 0, 2)), faces=forms, asks=1 + 3 * places))
    keeps = places or draw(st.integers(0, 4)) > 0
    face = st.sampled_from(faces[:2] * 3 + faces[2:])
    names = [n.name for n in plan.nodes]
    calls = [draw(_call(st.just("input"), face, listens, keeps))]
    kinds = st.sampled_from(["answer"] * 4 + ["resume"] + ["input"])
    at = st.none()
    if places:
        at = st.one_of(
            st.none(),
            st.tuples(st.sampled_from(["root", "sub", "sub", "below"]), st.integers(0, 6)),
        )
    if keeps:
        for _ in range(draw(st.integers(0, 4))):
            if places and draw(st.booleans()):
                calls.append(draw(_update(names, at)))
            else:
                calls.append(draw(_call(kinds, face, listens, keeps, at)))
    return Scene(
        plan,
        tuple(calls),
        draw(st.sampled_from(THREAD_IDS)),
        keeps,
        draw(
            st.sampled_from(
                [
                    None,
                    None,
                    {"tags": ["bound"]},
                    {"metadata": {"m": "bound"}},
                    {"configurable": {"foo": "bound"}},
                    {"run_name": "bound"},
                ]
            )
        ),
    )


@st.composite
def _call(
    draw: st.DrawFn, what: Any, face: Any, listens: bool, keeps: bool, at: Any = None
) -> Call:
    chosen, kind = draw(face), draw(what)
    options: dict[str, Any] = {}
    if chosen.endswith(("stream", "invoke")):
        mode = st.sampled_from(MODES)
        modes = st.one_of(
            st.none(), st.none(), mode, st.lists(mode, min_size=1, max_size=3, unique=True)
        )
        if (found := draw(modes)) is not None:
            options["stream_mode"] = found
        if draw(st.integers(0, 2)) == 0:
            options["version"] = draw(st.sampled_from(["v1", "v2"]))
        if chosen.endswith("stream") and draw(st.booleans()):
            options["subgraphs"] = draw(st.booleans())
        if draw(st.integers(0, 4)) == 0:
            options["output_keys"] = draw(st.sampled_from(["log", ["log", "last"]]))
        if keeps and draw(st.integers(0, 1)) == 0:
            options["durability"] = draw(st.sampled_from(DURABILITIES))
    config: dict[str, Any] = {}
    if draw(st.integers(0, 2)) == 0:
        config = draw(
            st.sampled_from(
                [
                    {"tags": ["call"]},
                    {"metadata": {"n": "call"}},
                    {"configurable": {"foo": "call"}},
                    {"run_name": "called"},
                ]
            )
        )
    return Call(
        kind,
        {"log": ["in"]} if kind == "input" else None,
        chosen,
        draw(at) if at is not None and kind != "input" else None,
        options=options,
        config=config,
        heard=listens and draw(st.booleans()),
    )


@st.composite
def _update(draw: st.DrawFn, names: list[str], at: Any) -> Call:
    values = draw(st.sampled_from([{"log": ["up"]}, {"last": "up"}, None]))
    as_node = draw(st.sampled_from([None, None, START, "__input__", "__copy__", END, *names]))
    return Call("update", None if as_node == "__copy__" else values, "update", draw(at), as_node)
