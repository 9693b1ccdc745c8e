"""The text that Mermaid draws."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.runnables.graph import CurveStyle, NodeStyles

from orchestrator.drawing import Drawing, DrawnEdge, DrawnNode
from orchestrator.drawing.mermaid import escape, safe_id
from tests.fixtures.drawings import AGENT, ALL, END, NESTED, START, drawing

CHAIN = drawing(
    [START, "a", "b", END], (START, "a"), ("a", "b"), ("b", END), b={"queue": "gpu", "k": {}}
)
ODD = drawing(
    [START, 'say "hi" [x]', "end", "ü", END],
    (START, 'say "hi" [x]'),
    ('say "hi" [x]', "end", 'a "b" | c'),
    ('say "hi" [x]', "ü", None),
    ("end", END),
    ("ü", END),
)


def test_mermaid_of_a_chain():
    assert (
        CHAIN.draw_mermaid()
        == """\
---
config:
  flowchart:
    curve: linear
---
graph TD;
	__start__([<p>__start__</p>]):::first
	a(a)
	b(b<hr/><small><em>queue = gpu</em></small>)
	__end__([<p>__end__</p>]):::last
	__start__ --> a;
	a --> b;
	b --> __end__;
	classDef default fill:#f2f0ff,line-height:1.2
	classDef first fill-opacity:0
	classDef last fill:#bfb6fc
"""
    )


def test_mermaid_of_an_agent_with_states_and_settings():
    text = AGENT.draw_mermaid(
        curve_style="stepAfter",
        node_colors={"first": "fill:#fff"},
        frontmatter_config={
            "title": "An agent: drawn",
            "config": {"theme": "neutral", "x": [1, None]},
        },
        states={"agent": "done", "tools": "running"},
    )
    assert (
        text
        == """\
---
config:
  flowchart:
    curve: stepAfter
  theme: neutral
  "x": [1, null]
title: "An agent: drawn"
---
graph TD;
	__start__([<p>__start__</p>]):::first
	agent("✓ agent"):::done
	tools("▶ tools"):::running
	__end__([<p>__end__</p>]):::last
	__start__ --> agent;
	agent -. &nbsp;done&nbsp; .-> __end__;
	agent -. &nbsp;call&nbsp; .-> tools;
	tools --> agent;
	classDef default fill:#f2f0ff,line-height:1.2
	classDef first fill:#fff
	classDef last fill:#bfb6fc
	classDef done fill:#d3f2dc,stroke:#1f7a3d,color:#12401f
	classDef running fill:#d6e6ff,stroke:#1d5fc4,color:#0d2f66,stroke-width:2px
"""
    )


def test_mermaid_of_odd_names():
    assert (
        ODD.draw_mermaid(with_styles=False)
        == """\
graph TD;
	__start__ --> say\\20\\22hi\\22\\20\\5bx\\5d;
	say\\20\\22hi\\22\\20\\5bx\\5d -. "&nbsp;a #34;b#34; #124; c&nbsp;" .-> \\65nd;
	say\\20\\22hi\\22\\20\\5bx\\5d -.-> \\fc;
	\\65nd --> __end__;
	\\fc --> __end__;
"""
    )


def test_mermaid_of_a_cluster():
    text = NESTED.draw_mermaid(states={"sub": "paused", "sub:y": "next"})
    assert (
        text.partition("graph TD;")[2]
        == """
	__start__([<p>__start__</p>]):::first
	__end__([<p>__end__</p>]):::last
	__start__ --> sub\\3ax;
	sub\\3ay --> __end__;
	subgraph sub["‖ sub"]
	sub\\3ax(x)
	sub\\3ay("○ y"):::next
	sub\\3ax -.-> sub\\3ay;
	end
	class sub paused;
	classDef default fill:#f2f0ff,line-height:1.2
	classDef first fill-opacity:0
	classDef last fill:#bfb6fc
	classDef paused fill:#fdeec4,stroke:#946200,color:#4d3300
	classDef next fill:#ffffff,stroke:#5b6270,color:#2b2f36,stroke-dasharray:4 3
"""
    )
    assert "\tsubgraph sub\n" in NESTED.draw_mermaid()


def test_clusters_of_one_name_at_two_places_have_two_ids():
    nodes = {name: DrawnNode(name, name) for name in ("a:b:x", "c:b:x", "b")}
    clusters = {name: DrawnNode(name, name) for name in ("a", "a:b", "c", "c:b")}
    text = Drawing(nodes, [], clusters=clusters).draw_mermaid()
    found = re.findall(r"\tsubgraph (\S+?)(?:\[|\n)", text)
    assert len(set(found)) == len(found) == 4
    assert safe_id("b") not in found


def test_colours_are_taken_from_a_mapping_or_from_langchains_node_styles():
    styles = NodeStyles(default="fill:#111", first="fill:#222", last="fill:#333")
    text = AGENT.draw_mermaid(node_colors=styles, curve_style=CurveStyle.STEP)
    assert text == AGENT.draw_mermaid(node_colors=vars(styles), curve_style="step")
    assert "classDef first fill:#222" in text


def test_a_long_label_is_broken_after_so_many_words():
    text = drawing("ab", ("a", "b", "one two three")).draw_mermaid(wrap_label_n_words=2)
    assert "-. &nbsp;one two&nbsp<br>&nbspthree&nbsp; .->" in text
    text = drawing("ab", ("a", "b", "one two. three")).draw_mermaid(wrap_label_n_words=2)
    assert '-. "&nbsp;one two.&nbsp;<br/>&nbsp;three&nbsp;" .->' in text
    labelled = Drawing(ALL.nodes, [DrawnEdge("a", "b", "always")])
    assert "a -- &nbsp;always&nbsp; --> b;" in labelled.draw_mermaid()


def test_settings_that_yaml_would_misread_are_quoted():
    config = {"config": {"a": "no", "b": True, "c": "1.5", "n": None, "d": {}, "look": "handDrawn"}}
    text = ALL.draw_mermaid(frontmatter_config=config)
    head = text.partition("graph TD;")[0]
    assert '"a": "no"' in head
    assert '"b": true' in head
    assert '"c": "1.5"' in head
    assert '"d": {}' in head
    assert '"look": handDrawn' in head


@pytest.mark.parametrize(
    "word", ["end", "graph", "class", "class-a", "end it", "_self", "a--b", "-", "é"]
)
def test_what_mermaid_would_misread_as_an_id_is_written_otherwise(word):
    assert safe_id(word) != word
    assert safe_id(word).startswith("\\") or word == "a--b"


@pytest.mark.parametrize(
    "word", ["a", "call-model", "v", "default", "-a", "a_b", "__start__", "classify", "ends", "9"]
)
def test_what_is_an_id_stays_itself(word):
    assert safe_id(word) == word


def test_without_styles_only_nodes_with_a_state_have_a_line():
    drawn = drawing(
        [START, "a", "a b", "alone", END], (START, "a"), ("a", "a b"), ("a b", "a b"), ("a b", END)
    )
    assert (
        drawn.draw_mermaid(with_styles=False, states={"a": "done"})
        == """\
graph TD;
	a("✓ a")
	__start__ --> a;
	a --> a\\20b;
	a\\20b --> __end__;
	a\\20b --> a\\20b;
"""
    )


@given(
    st.lists(st.text(alphabet="a:\\2c°Ā\u20ac", min_size=1, max_size=5), min_size=2, unique=True)
)
def test_two_names_of_digits_and_odd_characters_never_become_one_id(names):
    assert len({safe_id(name) for name in names}) == len(names)


@given(st.lists(st.text(min_size=1, max_size=6), min_size=2, unique=True))
def test_two_names_never_become_one_id(names):
    ids = [safe_id(name) for name in names]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[A-Za-z0-9_\\-]+", each) for each in ids)


@given(st.text())
def test_an_escaped_text_holds_nothing_that_means_something(text):
    assert not set(re.sub(r"#\d+;", "", escape(text))) & set('"#<>[](){}|\\`*&\n')


def test_underscores_inside_a_word_stay_and_around_it_do_not():
    assert escape("my_node _x_ __y") == "my_node #95;x#95; #95;#95;y"
