"""Where boxes and routes of a drawing are, whatever the graph."""

import itertools
import time
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.drawing.ascii import ascii_text, assign_tracks, lay_out_ascii
from orchestrator.drawing.layout import (
    Box,
    Layout,
    Size,
    assign_layers,
    build_grid,
    closing_links,
    components,
    count_crossings,
    order_rows,
)
from orchestrator.drawing.picture import NODES_MAX, DrawnEdge, DrawnNode, Group, grouped
from orchestrator.drawing.svg import lay_out_svg, svg_text

SPACE = {lay_out_svg: 4, lay_out_ascii: 1}  # At least so much is between two boxes.


def nodes_of(names: Iterable[str]) -> dict[str, DrawnNode]:
    return {name: DrawnNode(name, name) for name in names}


@st.composite
def graphs(draw: Any) -> tuple[dict[str, DrawnNode], list[DrawnEdge]]:
    names = [f"{'long name ' * (n % 3)}{n}" for n in range(draw(st.integers(1, 12)))]
    links = draw(st.sets(st.tuples(*[st.sampled_from(names)] * 2), max_size=24))
    edges = [
        DrawnEdge(
            *link, draw(st.sampled_from([None, None, "yes", "a longer label"])), draw(st.booleans())
        )
        for link in sorted(links)
    ]
    return nodes_of(names), edges


def touch(one: Box, other: Box, space: int) -> bool:
    return (
        one.left < other.right + space
        and other.left < one.right + space
        and one.top < other.bottom + space
        and other.top < one.bottom + space
    )


def obstacles(layout: Layout) -> list[Box]:
    return [*layout.boxes.values(), *(r.label for r in layout.routes.values() if r.label)]


@pytest.mark.parametrize("lay_out", SPACE)
@settings(max_examples=40, deadline=None)
@given(graphs())
def test_no_two_boxes_or_labels_overlap(lay_out, graph):
    layout = lay_out(grouped(*graph), {})
    for one, other in itertools.combinations(obstacles(layout), 2):
        assert not touch(one, other, SPACE[lay_out])
    for box in obstacles(layout):
        assert box.left >= 0
        assert box.top >= 0
        assert box.right <= layout.width
        assert box.bottom <= layout.height


@pytest.mark.parametrize("lay_out", SPACE)
@settings(max_examples=40, deadline=None)
@given(graphs())
def test_every_edge_connects_its_boxes_and_passes_no_other(lay_out, graph):
    nodes, edges = graph
    layout = lay_out(grouped(nodes, edges), {})
    assert set(layout.boxes) == set(nodes)
    assert set(layout.routes) == {(e.source, e.target) for e in edges if e.source != e.target}
    for (source, target), route in layout.routes.items():
        for name, (x, y) in ((source, route.points[0]), (target, route.points[-1])):
            box = layout.boxes[name]
            assert box.left <= x <= box.right
            assert y in {box.top, box.bottom}
        for (x, y), (to_x, to_y) in zip(route.points[::2], route.points[1::2], strict=True):
            assert x == to_x  # Within a row it is upright,
            way = Box(x, min(y, to_y), x, max(y, to_y))
            for name, box in layout.boxes.items():
                assert name in {source, target} or not touch(way, box, 1)
        for (x, y), (to_x, to_y) in zip(route.points[1:-1:2], route.points[2::2], strict=True):
            way = Box(min(x, to_x), min(y, to_y), max(x, to_x), max(y, to_y))
            assert not any(touch(way, box, 0) for box in obstacles(layout))  # It bends between.


@pytest.mark.parametrize("lay_out", SPACE)
@settings(max_examples=40, deadline=None)
@given(graphs())
def test_a_label_stands_on_its_edge(lay_out, graph):
    nodes, edges = graph
    layout = lay_out(grouped(nodes, edges), {})
    for edge in edges:
        if edge.source != edge.target:
            route = layout.routes[edge.source, edge.target]
            assert (route.label is None) == (edge.data is None)
            if route.label is not None:
                columns = {x for x, y in route.points if route.label.top <= y <= route.label.bottom}
                assert any(route.label.left <= x <= route.label.right for x in columns)


@settings(max_examples=40, deadline=None)
@given(graphs())
def test_layers_follow_the_edges_except_those_that_close_a_cycle(graph):
    nodes, edges = graph
    links = [(e.source, e.target) for e in edges if e.source != e.target]
    closing = closing_links(list(nodes), links)
    down = list(dict.fromkeys((t, s) if (s, t) in closing else (s, t) for s, t in links))
    layer = assign_layers(list(nodes), down)
    assert all(layer[source] < layer[target] for source, target in down)
    assert min(layer.values()) == 0
    for source, target in closing:  # Each of them does close a cycle: a way leads back.
        reached = {target}
        for _ in nodes:
            reached |= {t for s, t in links if s in reached and (s, t) not in closing}
        assert source in reached


@pytest.mark.parametrize("lay_out", SPACE)
@settings(max_examples=40, deadline=None)
@given(graphs())
def test_the_same_graph_has_the_same_layout_in_whatever_order_its_edges_come(lay_out, graph):
    nodes, edges = graph
    assert lay_out(grouped(nodes, edges), {}) == lay_out(grouped(nodes, edges[::-1]), {})


@pytest.mark.parametrize("lay_out", SPACE)
def test_states_make_room_for_their_signs(lay_out):
    nodes = nodes_of(["a node"])
    plain, marked = (lay_out(grouped(nodes, []), states) for states in ({}, {"a node": "done"}))
    assert marked.width > plain.width


def test_a_cycle_is_broken_where_it_leads_back_to_the_start():
    links = [("b", "c"), ("c", "a"), ("a", "b")]
    assert closing_links(["a", "b", "c"], links) == {("c", "a")}


def test_a_node_that_only_leads_on_stands_next_to_what_follows_it():
    links = [("a", "b"), ("b", "c"), ("c", "d"), ("late", "d")]
    layer = assign_layers(["a", "b", "c", "d", "late"], links)
    assert layer == {"a": 0, "b": 1, "c": 2, "d": 3, "late": 2}


def test_the_first_node_stands_at_the_top_wherever_it_leads():
    links = [("start", "d"), ("start", "c"), ("a", "b"), ("b", "c"), ("c", "d")]
    assert assign_layers(["start", "a", "b", "c", "d"], links)["start"] == 0


def test_groups_that_no_link_connects_keep_the_order_of_their_nodes():
    links = [("c", "a"), ("e", "b")]
    assert components(["a", "b", "c", "d", "e"], links) == [["a", "c"], ["b", "e"], ["d"]]


def grid_of(links: list[tuple[str, str]]) -> Any:
    names = dict.fromkeys(name for link in links for name in link)
    size = Size(1, 1, 1)
    return build_grid(dict.fromkeys(names, size), links, {}, 10_000)


def test_links_that_need_not_cross_do_not():
    tree = [("a", n) for n in "bcd"] + [(n, n * k) for n in "bcd" for k in (2, 3)]
    crossed = [("b", "x"), ("c", "w"), ("d", "v"), ("x", "y"), ("w", "y")]
    grid = grid_of([("a", "b"), ("a", "c"), ("a", "d"), *crossed])
    for each in (grid_of(tree[::-1]), grid):
        order_rows(each)
        assert count_crossings(each) == 0


def test_crossings_are_counted_and_never_become_more():
    links = [(f"a{i}", f"b{(i * 3 + k) % 7}") for i in range(7) for k in range(3)]
    links += [("top", f"a{i}") for i in range(7)]
    grid = grid_of(links)
    place = [{n: p for p, n in enumerate(row)} for row in grid.rows]
    ends = [
        (place[r][n], place[r + 1][m])
        for r, row in enumerate(grid.rows[:-1])
        for n in row
        for m in grid.below[n]
    ]
    lower = ends[7:]
    crossing = sum((a - c) * (b - d) < 0 for (a, b), (c, d) in itertools.combinations(lower, 2))
    assert count_crossings(grid) >= crossing
    before = count_crossings(grid)
    order_rows(grid)
    assert 0 < count_crossings(grid) <= before


@settings(max_examples=60)
@given(st.dictionaries(st.integers(0, 30), st.integers(0, 30)))
def test_edges_share_no_part_of_a_line(ways):
    ends = [(x, to_x) for x, to_x in ways.items() if list(ways.values()).count(to_x) == 1]
    tracks = assign_tracks(ends)
    assert set(tracks) == {(x, to_x) for x, to_x in ends if x != to_x}
    for one, other in itertools.combinations(tracks, 2):
        if tracks[one] == tracks[other]:
            assert max(one) < min(other) or max(other) < min(one)


def test_an_edge_turns_away_above_one_that_arrives_in_its_column():
    tracks = assign_tracks([(0, 4), (4, 8), (8, 12)])
    assert tracks[8, 12] < tracks[4, 8] < tracks[0, 4]
    assert set(assign_tracks([(0, 4), (4, 0)])) == {(0, 4), (4, 0)}  # They change places.


def chain(count: int) -> tuple[dict[str, DrawnNode], list[DrawnEdge]]:
    names = [f"n{i}" for i in range(count)]
    return nodes_of(names), [DrawnEdge(*pair) for pair in itertools.pairwise(names)]


def fan(count: int) -> tuple[dict[str, DrawnNode], list[DrawnEdge]]:
    names = [f"n{i}" for i in range(count - 2)]
    edges = [DrawnEdge("top", n) for n in names] + [DrawnEdge(n, "end") for n in names]
    return nodes_of(["top", *names, "end"]), edges


@pytest.mark.parametrize("shape", [chain, fan])
def test_as_many_nodes_as_are_drawn_are_drawn_quickly(shape):
    nodes, edges = shape(NODES_MAX)
    began = time.process_time()
    picture = svg_text("big", grouped(nodes, edges), {})
    assert time.process_time() - began < 3  # Seconds; a fifth of it where nothing else runs.
    assert picture.count('class="gs-node"') == NODES_MAX
    assert "max-width" in picture or shape is fan  # What is very wide is scrolled.


def test_more_nodes_than_can_be_read_are_not_drawn_but_said():
    nodes, edges = chain(NODES_MAX + 1)
    for text in (svg_text("big", grouped(nodes, edges), {}), ascii_text(grouped(nodes, edges), {})):
        assert "301 nodes and 300 edges are too many for one picture." in text
        assert "draw_mermaid()" in text
        assert "n17" not in text.partition("</desc>")[2]


def test_edges_that_pass_too_many_rows_are_not_drawn_but_said():
    nodes, edges = chain(200)
    edges += [DrawnEdge("n0", f"n{i}") for i in range(2, 200)]
    assert lay_out_svg(grouped(nodes, edges), {}) is None
    assert "too many" in svg_text("dense", grouped(nodes, edges), {})


def test_a_picture_of_characters_that_is_too_wide_is_not_drawn_but_said():
    nodes, edges = fan(120)
    assert "too many" in ascii_text(grouped(nodes, edges), {})


def test_a_big_picture_without_cycles_is_still_laid_out_without_overlaps():
    nodes, edges = chain(60)
    edges += [DrawnEdge(f"n{i}", f"n{i + 40}") for i in range(20)]
    edges += [
        DrawnEdge(f"n{i}", f"n{i * 7 % 60}") for i in range(60) if i * 7 % 60 not in {i, i + 1}
    ]
    edges = list({(e.source, e.target): e for e in edges}.values())
    layout = lay_out_svg(grouped(nodes, edges), {})
    for one, other in itertools.combinations(obstacles(layout), 2):
        assert not touch(one, other, 4)


# ---- clusters -----------------------------------------------------------------------------


@st.composite
def nested(draw: Any) -> Group:
    """A picture with clusters, in which edges lead from anywhere to anywhere."""
    clusters = nodes_of(["a", "a:b", "c", "a:b:d"])
    homes = ["", "a:", "a:b:", "c:", "a:b:d:"]
    names = [
        f"{home}{'long ' * draw(st.integers(0, 3))}{n}"
        for home in homes
        for n in range(draw(st.integers(1, 3)))
    ]
    links = draw(st.sets(st.tuples(*[st.sampled_from(names)] * 2), max_size=14))
    labels = st.sampled_from([None, "yes"])
    edges = [DrawnEdge(*link, draw(labels), draw(st.booleans())) for link in sorted(links)]
    return grouped(nodes_of(names), edges, clusters)


@pytest.mark.parametrize("lay_out", SPACE)
@settings(max_examples=40, deadline=None)
@given(nested())
def test_clusters_hold_what_is_theirs_and_touch_nothing_else(lay_out, picture):
    layout = lay_out(picture, {"a": "done"})
    for group in picture.walk():
        own = [layout.boxes[key] for key in (*group.nodes, *group.groups, *group.dots)]
        own += [r.label for link in group.edges if (r := layout.routes.get(link)) and r.label]
        for one, other in itertools.combinations(own, 2):
            assert not touch(one, other, SPACE[lay_out])
        if group.id:
            around = layout.boxes[group.id]
            for box in own:
                assert around.left < box.left
                assert box.right < around.right
                assert around.top < box.top
                assert box.bottom < around.bottom


@pytest.mark.parametrize("lay_out", SPACE)
@settings(max_examples=40, deadline=None)
@given(nested())
def test_every_edge_in_a_cluster_connects_what_stands_side_by_side(lay_out, picture):
    layout = lay_out(picture, {})
    for group in picture.walk():
        beside = {*group.nodes, *group.groups, *group.dots}
        for link in [*group.edges, *itertools.chain(*group.dots.values())]:
            assert set(link) <= beside
            if link[0] != link[1]:
                ends = (layout.routes[link].points[0], layout.routes[link].points[-1])
                for name, (x, y) in zip(link, ends, strict=True):
                    box = layout.boxes[name]
                    assert box.left <= x <= box.right
                    assert y in {box.top, box.bottom}


def test_an_edge_into_a_cluster_ends_at_its_border_and_a_dot_leads_on():
    clusters = nodes_of(["c"])
    edges = [DrawnEdge("a", "c:x"), DrawnEdge("c:x", "c:y"), DrawnEdge("c:y", "b")]
    picture = grouped(nodes_of(["a", "c:x", "c:y", "b"]), edges, clusters)
    assert picture.order == ["a", "c", "b"]
    assert picture.edges == {("a", "c"): edges[0], ("c", "b"): edges[2]}
    inside = picture.groups["c"]
    assert inside.edges == {("c:x", "c:y"): edges[1]}
    assert inside.dots == {"c:": [("c:", "c:x")], "c::": [("c:y", "c::")]}


def test_a_start_or_end_that_is_drawn_needs_no_dot():
    names = ["a", "c:__start__", "c:__end__", "b"]
    edges = [DrawnEdge(*pair) for pair in itertools.pairwise(names)]
    assert grouped(nodes_of(names), edges, nodes_of(["c"])).groups["c"].dots == {}
