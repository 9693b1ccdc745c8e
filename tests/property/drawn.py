"""How graphs, and what is done to them, are drawn at random."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.property.plans import END, KEYS, START, GraphPlan, NodePlan, RouterPlan, Target
from tests.property.views import Do

KINDS = (
    *["plain"] * 6,
    *["asks", "fails", "goes", "says"] * 2,
    *["defer", "new", "retry", "handled", "commands", "object", "list"],
)


def some(values: st.SearchStrategy[str], size: int = 2) -> st.SearchStrategy[tuple[str, ...]]:
    """Return strategies for a few of some names, in order."""
    return st.sets(values, max_size=size).map(sorted).map(tuple)


@st.composite
def plans(draw: st.DrawFn, depth: int = 2, prefix: str = "", *, kinds: str = "") -> GraphPlan:
    """Draw a graph; with subgraphs, down to so many levels."""
    inner = bool(prefix)
    names = [
        prefix + c for c in "abcdef"[: draw(st.integers(1, 3) if inner else st.integers(2, 6))]
    ]
    nests = depth > 0 and draw(st.booleans())
    schema = draw(st.sampled_from(["inner", "bounded"])) if inner else draw(_schemas(nests))
    nodes = st.sampled_from(names)
    targets = st.builds(Target, st.sampled_from([*names, END]))
    targets |= st.builds(Target, nodes, st.just(1))
    stops = st.one_of(*[st.just(())] * (12 if inner else 4), some(nodes), st.just(("*",)))
    return GraphPlan(
        tuple(draw(node_plans(n, targets, schema, depth if nests else 0, inner)) for n in names),
        tuple(dict.fromkeys(draw(_edges(names, inner=inner)))),
        tuple(draw(_joins(names, inner=inner))),
        tuple(draw(_routers(names, prefix, targets))),
        draw(stops),
        draw(stops),
        schema,
        narrow_in=draw(st.sampled_from([False] * 4 + [True])) and schema != "full",
        narrow_out=draw(st.sampled_from([False] * 4 + [True])) and schema != "full",
    )


def _schemas(nests: bool) -> st.SearchStrategy[str]:
    return st.sampled_from(["bounded"] * 4 + ["full"] * (0 if nests else 4) + ["model", "record"])


def _joins(
    names: list[str], *, inner: bool
) -> st.SearchStrategy[list[tuple[tuple[str, ...], str]]]:
    """Return joins; in subgraphs, they lead forward."""
    if len(names) < 3:
        return st.just([])
    of = st.sampled_from(names[:-1] if inner else names)
    sources = st.lists(of, min_size=2, max_size=3, unique=True).map(tuple)
    ends = st.just(names[-1]) if inner else st.sampled_from(names)
    return st.lists(st.tuples(sources, ends), max_size=2)


@st.composite
def _edges(draw: st.DrawFn, names: list[str], *, inner: bool) -> list[tuple[str, str]]:
    nodes = st.sampled_from(names)
    edges = [(START, draw(nodes))]
    for index, name in enumerate(names):
        later = st.sampled_from([*names[index + 1 :], END])
        edges += [(name, end) for end in sorted(draw(st.sets(later, max_size=2)))]
    more = st.tuples(st.sampled_from([START, *names]), st.sampled_from([*names, END]))
    return edges if inner else edges + draw(st.lists(more, max_size=2))


@st.composite
def _routers(
    draw: st.DrawFn, names: list[str], prefix: str, targets: st.SearchStrategy[Target]
) -> list[RouterPlan]:
    several = st.lists(targets, max_size=3).map(tuple)
    found = []
    for index in range(draw(st.integers(0, 1 if prefix else 2))):
        source = draw(st.sampled_from([START, *names]))
        choices = several if source == START else several.map(calm)
        some_choices = tuple(draw(st.lists(choices, min_size=1, max_size=3)))
        found.append(RouterPlan(source, f"{prefix}r{index}", some_choices, draw(st.booleans())))
    return found


def calm(targets: tuple[Target, ...]) -> tuple[Target, ...]:
    """Leave out all `Send`s but the first: what is sent and sends several grows without end."""
    first = next((index for index, target in enumerate(targets) if target.item), None)
    return tuple(t for index, t in enumerate(targets) if not t.item or index == first)


@st.composite
def node_plans(
    draw: st.DrawFn,
    name: str,
    targets: st.SearchStrategy[Target],
    schema: str,
    depth: int,
    inner: bool,
) -> NodePlan:
    kind = draw(
        st.sampled_from([*KINDS, *["up"] * inner, *["sub", "sub", "calls"] * 3 * (depth > 0)])
    )
    often = [key for key in KEYS[schema] if key != "last"] * 3 + ["last"]
    keys = some(st.sampled_from(often), 3)
    goto = (
        tuple(draw(st.lists(targets, min_size=1, max_size=2))) if kind in {"goes", "list"} else ()
    )
    sub = draw(plans(depth - 1, name)) if kind in {"sub", "calls"} else None
    return NodePlan(
        name,
        draw(keys),
        says=draw(st.integers(1, 2)) if kind == "says" else 0,
        asks=draw(st.integers(1, 2)) if kind == "asks" else 0,
        fails=draw(st.integers(1, 3)) if kind in {"retry", "handled"} else int(kind == "fails"),
        attempts=draw(st.integers(1, 3)) if kind == "retry" else 0,
        handler=draw(targets) if kind == "handled" else None,
        replaces=kind == "new",
        goto=goto,
        up=Target(name[:-1])
        if kind == "up" and draw(st.booleans())
        else Target(END)
        if kind == "up"
        else None,
        shape=kind.removesuffix("s") if kind in {"commands", "object", "list"} else "dict",
        defer=kind == "defer",
        sub=sub,
        keeps=draw(st.sampled_from([None] * 4 + [True, False])) if sub else None,
        called=draw(st.integers(1, 2)) if kind == "calls" else 0,
    )


# ---- what is done -----------------------------------------------------------------------


@st.composite
def scenarios(draw: st.DrawFn) -> tuple[GraphPlan, list[Do]]:
    """Draw a graph and what is done to it."""
    plan = draw(plans())
    narrow = plan.narrow_in
    inputs = st.sampled_from(
        [{"log": ["in"]}, {"last": "in"}, {"log": []}]
        + ([] if narrow else [{"table": {"in": 1}}, {"total": 5}])
    )
    names = [node.name for node in plan.nodes]
    nodes = st.sampled_from(names)
    via = st.sampled_from(["invoke", "stream", "deep"])
    past = st.one_of(*[st.none()] * 4, st.integers(0, 12))
    old = st.integers(0, 12)
    updates = st.sampled_from([{"log": ["up"]}, {"last": "up"}, None])
    goto = some(nodes)
    breaks = st.sampled_from(["interrupt_before", "interrupt_after"])
    options = st.one_of(
        *[st.just({})] * 5, st.dictionaries(breaks, nodes.map(lambda n: [n]), max_size=1)
    )
    go = st.builds(Do, st.just("go"), pick=st.integers(0, 3), via=via, options=options)
    do = st.one_of(
        *[go] * 6,
        st.builds(Do, st.just("resume"), via=via),
        st.builds(Do, st.just("resume"), via=via, at=old),
        st.builds(Do, st.sampled_from(["all", "one"]), pick=st.integers(1, 3), via=via),
        st.builds(Do, st.just("input"), inputs, via=via, at=past, options=options),
        st.builds(Do, st.just("update"), updates, st.sampled_from([START, *names]), at=past),
        st.builds(Do, st.just("update"), updates, at=past),
        st.builds(Do, st.just("command"), updates, goto=goto, via=via),
        st.just(Do("settle", None, END)),
    )
    first = st.builds(Do, st.just("input"), st.just({"log": ["in"]}), via=via, options=options)
    return plan, [draw(first), *draw(st.lists(do, min_size=1, max_size=6))]
