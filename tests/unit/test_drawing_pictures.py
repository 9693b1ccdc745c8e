"""What the pictures of a graph look like: in characters, as SVG."""

import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.drawing import Drawing, DrawnEdge, DrawnNode
from orchestrator.drawing.picture import SIGNS, clip
from orchestrator.drawing.svg import ICONS, text_width
from tests.fixtures.drawings import AGENT, ALL, END, NESTED, START, drawing

SVG = "{http://www.w3.org/2000/svg}"
STATES = dict(zip("abcde", SIGNS, strict=True))


# ---- characters ---------------------------------------------------------------------------


def test_characters_of_an_agent():
    assert (
        AGENT.draw_ascii()
        == """\
  +-------+
  | START |
  +-------+
      |
      v
  +-------+
  | agent |
  +-------+
   :  ^  :
  ++  |  +.....+
  :   |        :
call  |      done
  :   |        :
  v   |        v
+-------+   +-----+
| tools |   | END |
+-------+   +-----+
"""
    )


def test_characters_of_a_join_with_states_and_a_repetition():
    graph = drawing(
        [START, "a", "b", "日本", END],
        (START, "a"),
        ("a", "a", "again"),
        ("a", "b", None),
        ("a", "日本"),
        ("b", END),
        ("日本", END),
    )
    assert (
        graph.draw_ascii(states={"a": "done", "日本": "failed"})
        == """\
+-------+
| START |
+-------+
    |
    v
+-------+..+
| [+] a |  : again
+-------+<.+
  :   |
  :   +-------+
  v           v
+---+   +----------+
| b |   | [!] 日本 |
+---+   +----------+
  |           |
  |   +-------+
  v   v
 +-----+
 | END |
 +-----+

[+] done  [!] failed
"""
    )


@pytest.mark.parametrize("state", SIGNS)
def test_characters_show_each_state_by_a_sign_and_explain_it(state):
    text = ALL.draw_ascii(states={"c": state})
    sign = SIGNS[state][1]
    assert f"| {sign} c |" in text
    assert text.endswith(f"\n\n{sign} {state}\n")


def test_long_names_are_cut_in_pictures():
    name = "x" * 200
    graph = drawing([name])
    assert f"{'x' * 29}…" in graph.draw_ascii()
    assert f"{'x' * 31}…</text>" in graph.draw_svg()
    assert f"<title>{name}</title>" in graph.draw_svg()
    assert clip("short", 5) == "short"


def test_a_label_of_several_lines_is_shown_in_one():
    graph = drawing("ab", ("a", "b", "one\n two\t"))
    assert "\none two\n" in graph.draw_ascii()
    assert "one two</text>" in graph.draw_svg()
    assert "&nbsp;one\n two\t&nbsp;" in graph.draw_mermaid()  # As it was given, as in LangGraph.


def test_a_label_without_text_does_not_interrupt_its_line():
    graph = drawing("ab", ("a", "b", ""))
    assert [line.strip() for line in graph.draw_ascii().splitlines()[3:8]] == [":"] * 4 + ["v"]
    ET.fromstring(graph.draw_svg())


def test_a_combining_mark_takes_no_column():
    lines = drawing(["e\u0301a"]).draw_ascii().splitlines()
    assert lines == ["+----+", "| e\u0301a |", "+----+"]


def test_characters_of_a_cluster():
    assert (
        NESTED.draw_ascii(states={"sub": "running", "sub:x": "done"})
        == """\
  +-------+
  | START |
  +-------+
      |
      v
+- [>] sub -+
|     o     |
|     |     |
|     v     |
| +-------+ |
| | [+] x | |
| +-------+ |
|     :     |
|     v     |
|   +---+   |
|   | y |   |
|   +---+   |
|     |     |
|     v     |
|     o     |
+-----------+
      |
      v
   +-----+
   | END |
   +-----+

[+] done  [>] running
"""
    )


def test_characters_are_printed(capsys):
    AGENT.print_ascii()
    assert capsys.readouterr().out == AGENT.draw_ascii()


# ---- SVG ----------------------------------------------------------------------------------


def texts(root: ET.Element) -> list[str]:
    return [each.text or each[0].tail for each in root.iter(f"{SVG}text")]


def test_a_picture_is_well_formed_and_says_what_it_shows():
    root = ET.fromstring(AGENT.draw_svg())
    assert root.tag == f"{SVG}svg"
    assert root.get("role") == "img"
    assert root.get("aria-label") == root.find(f"{SVG}title").text == "Graph test"
    assert root.find(f"{SVG}desc").text == (
        "__start__ to agent; agent to __end__ if done; agent to tools if call; tools to agent."
    )
    assert sorted(texts(root)) == ["END", "START", "agent", "call", "done", "tools"]
    assert "prefers-color-scheme:dark" in root.find(f"{SVG}style").text


def test_conditional_edges_are_dashed_and_others_are_not():
    root = ET.fromstring(AGENT.draw_svg())
    dashed = {
        (group.get("data-source"), group.get("data-target"))
        for group in root.iter(f"{SVG}g")
        for path in group.findall(f"{SVG}path")
        if "gs-perhaps" in path.get("class", "")
    }
    assert dashed == {("agent", "tools"), ("agent", END)}
    drawn = [each for each in root.iter(f"{SVG}path") if each.get("marker-end")]
    assert len(drawn) == 4


names = st.text(min_size=1, max_size=12)


@given(st.lists(names, min_size=1, max_size=4, unique=True), st.text(max_size=10))
def test_whatever_is_named_is_escaped(names, label):
    graph = drawing(names, (names[0], names[-1], label), **{names[0]: {label: "</title>"}})
    root = ET.fromstring(graph.draw_svg(states={names[0]: "failed"}))
    assert {each.tag.removeprefix(SVG) for each in root.iter()} <= {
        *("svg", "title", "desc", "style", "defs", "marker", "path", "rect", "g", "text", "circle")
    }
    assert len([g for g in root.iter(f"{SVG}g") if g.get("data-node")]) == len(names)
    graph.draw_ascii()


def test_nothing_in_a_picture_can_act_or_is_fetched():
    name = '"><script>alert(1)</script><a href="javascript:x">'
    text = drawing([name]).draw_svg()
    assert "<script" not in text
    assert "href=" not in re.sub(r"data-node=\'[^\']*\'", "", text).replace('&lt;a href="', "")
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")


@pytest.mark.parametrize("state", ICONS)
def test_a_state_is_shown_by_a_sign_and_a_word_and_not_by_colour_alone(state):
    root = ET.fromstring(ALL.draw_svg(states={"b": state}))
    [node] = [g for g in root.iter(f"{SVG}g") if g.get("data-node") == "b"]
    assert node.get("class") == f"gs-node gs-{state}"
    assert node.find(f"{SVG}title").text == f"b: {state}"
    assert len(node.find(f"{SVG}g")) == 2  # The badge and what is drawn in it.
    assert state in texts(root)  # The legend.


def test_a_cluster_is_a_frame_with_a_title_and_its_state():
    root = ET.fromstring(NESTED.draw_svg(states={"sub": "failed"}))
    [frame] = [g for g in root.iter(f"{SVG}g") if g.get("data-node") == "sub"]
    assert frame.get("class") == "gs-cluster gs-failed"
    assert frame.find(f"{SVG}title").text == 'sub: failed\nk = "<'
    assert frame.find(f"{SVG}text").text == "sub"
    assert len(list(root.iter(f"{SVG}circle"))) == 1 + 1 + 3  # Two badges, a dot, a dot in a ring.
    ends = {(g.get("data-source"), g.get("data-target")) for g in root.iter(f"{SVG}g")}
    assert ends >= {(START, "sub:x"), ("sub:x", "sub:y"), ("sub:y", END)}
    assert sorted(texts(root)) == ["END", "START", "failed", "sub", "x", "y"]


def test_a_way_to_a_box_that_is_lower_than_its_row_reaches_it():
    """Beside a cluster, a box stands in the middle of a high row."""
    nodes = {name: DrawnNode(name, name) for name in ("a", "b", "s:x", "s:y")}
    edges = [DrawnEdge("a", "b"), DrawnEdge("a", "s:x"), DrawnEdge("s:x", "s:y")]
    drawn = Drawing(nodes, edges, clusters={"s": DrawnNode("s", "s")})
    root = ET.fromstring(drawn.draw_svg())
    boxes = {g.get("data-node"): g.find(f"{SVG}rect") for g in root.iter(f"{SVG}g")}
    assert int(boxes["b"].get("y")) > int(boxes["s"].get("y"))
    [way] = [g for g in root.iter(f"{SVG}g") if g.get("data-target") == "b"]
    path = way.find(f"{SVG}path").get("d")
    # It bends above the row only.
    assert path.endswith(f"V{boxes['s'].get('y')}V{int(boxes['b'].get('y')) - 8}")


def test_all_states_look_different():
    assert len(set(ICONS.values())) == len(ICONS) == len(SIGNS)
    assert len({sign for pair in SIGNS.values() for sign in pair}) == 2 * len(SIGNS)
    root = ET.fromstring(ALL.draw_svg(states=STATES))
    assert texts(root)[-5:] == list(SIGNS)


def test_an_edge_to_the_node_itself_is_a_loop_beside_it():
    for label in (None, "again"):
        root = ET.fromstring(drawing("a", ("a", "a", label)).draw_svg())
        box = next(r for r in root.iter(f"{SVG}rect") if r.get("class") == "gs-box")
        right = int(box.get("x")) + int(box.get("width"))
        path = next(p for p in root.iter(f"{SVG}path") if p.get("marker-end")).get("d")
        assert path.startswith(f"M{right} ")
        assert int(root.get("width")) > right + 34
        assert ("again" in texts(root)) == (label is not None)


def test_a_line_is_interrupted_where_its_label_stands():
    for edge in (("a", "b", "word"), ("b", "a", "word")):
        root = ET.fromstring(drawing("ab", edge).draw_svg())
        path = next(p for p in root.iter(f"{SVG}path") if p.get("marker-end")).get("d")
        y = float(
            next(t for t in root.iter(f"{SVG}text") if "gs-soft" in t.get("class", "")).get("y")
        )
        ends, begins = re.search(r"V(\d+)M\d+ (\d+)", path).groups()
        assert min(int(ends), int(begins)) < y < max(int(ends), int(begins))


def test_many_edges_are_told_in_part_to_those_who_cannot_see():
    names = [f"n{i}" for i in range(80)]
    text = drawing(names, *[("n0", name, None) for name in names[1:]]).draw_svg()
    assert "n0 to n60 perhaps; and 19 more edges." in text


def test_wide_letters_take_more_room_than_narrow_ones():
    assert text_width("ill", 14) < text_width("abc", 14) < text_width("WMW", 14)
    assert text_width("日本", 14) > text_width("ab", 14)
    assert text_width("e\u0301", 14) == text_width("e", 14)
