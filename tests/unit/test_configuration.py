"""Where graphs are configured, and what is said when one cannot be loaded."""

import sys

import pytest

from workers.configuration import (
    GRAPHS_VARIABLE,
    ConfigurationError,
    LoadedGraphs,
    configured,
    parse_graphs,
)

MODULE = """
from typing import TypedDict

from orchestrator import START, StateGraph


class State(TypedDict):
    x: int


def node(state):
    return {"x": state["x"] + 1}


builder = StateGraph(State).add_node("node", node).add_edge(START, "node")
graph = builder.compile(name="inner")
"""

PYPROJECT = '[tool.graphstalk]\ngraphs = { mine = "pyproject_module:graph" }\n'
LANGGRAPH = '{"graphs": {"mine": "./langgraph_file.py:graph", "long": {"path": "m:g"}}}'


@pytest.fixture
def importing(monkeypatch):
    """Forget what a test imported, and where from."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("registry_"):
            del sys.modules[name]


# ---- where ----------------------------------------------------------------------------------


def test_the_environment_goes_first_then_pyproject_then_langgraph_json(tmp_path):
    (tmp_path / "langgraph.json").write_text(LANGGRAPH)
    assert configured({}, tmp_path) == {"mine": "./langgraph_file.py:graph", "long": "m:g"}
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    assert configured({}, tmp_path) == {"mine": "pyproject_module:graph"}
    env = {GRAPHS_VARIABLE: "mine=env_module:graph"}
    assert configured(env, tmp_path) == {"mine": "env_module:graph"}


@pytest.mark.parametrize("text", ["", "[tool.other]\nx = 1\n", "[tool.graphstalk]\n"])
def test_a_pyproject_that_names_no_graphs_does_not_hide_langgraph_json(text, tmp_path):
    (tmp_path / "pyproject.toml").write_text(text)
    (tmp_path / "langgraph.json").write_text(LANGGRAPH)
    assert "long" in configured({}, tmp_path)


def test_nothing_configured_is_no_graphs(tmp_path):
    assert configured({GRAPHS_VARIABLE: ""}, tmp_path) == {}


def test_the_folder_and_environment_are_those_of_the_process_by_default(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(GRAPHS_VARIABLE, raising=False)
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    assert list(configured()) == ["mine"]
    monkeypatch.setenv(GRAPHS_VARIABLE, "a:b")
    assert configured() == {"b": "a:b"}


@pytest.mark.parametrize(("name", "text"), [("pyproject.toml", "a ="), ("langgraph.json", "{")])
def test_a_file_that_cannot_be_read_is_named(name, text, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigurationError, match=f"{name} cannot be read: ") as raised:
        configured({}, tmp_path)
    assert raised.value.code == "INVALID_CONFIGURATION"
    assert raised.value.__cause__ is not None


# ---- how ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a=m:g", {"a": "m:g"}),
        ("m:g", {"g": "m:g"}),
        (" a=m:g , b=n.o:h,, ", {"a": "m:g", "b": "n.o:h"}),
        ("a=dir/file.py:g", {"a": "dir/file.py:g"}),
        ("", {}),
    ],
)
def test_pairs_are_separated_by_commas_and_the_attribute_is_a_default_name(text, found):
    assert parse_graphs(text) == found


@pytest.mark.parametrize("text", ["module", "a=module", "a=module:", "fine=m:g,broken"])
def test_a_part_that_names_no_graph_says_what_is_expected(text):
    with pytest.raises(ConfigurationError, match="names no graph: expected name=package"):
        parse_graphs(text)


# ---- loading --------------------------------------------------------------------------------


@pytest.mark.usefixtures("importing")
def test_a_graph_is_loaded_from_a_module_of_the_folder(tmp_path):
    (tmp_path / "registry_module.py").write_text(MODULE)
    registry = LoadedGraphs({"mine": "registry_module:graph"}, tmp_path)
    assert (list(registry), len(registry)) == (["mine"], 1)
    assert registry["mine"].invoke({"x": 1}) == {"x": 2}
    assert sys.path[0] == str(tmp_path)


@pytest.mark.usefixtures("importing")
def test_a_graph_is_loaded_from_a_file(tmp_path):
    path = tmp_path / "some-file.py"
    path.write_text(MODULE)
    assert LoadedGraphs({"mine": f"{path}:graph"}, tmp_path)["mine"].invoke({"x": 1}) == {"x": 2}


@pytest.mark.usefixtures("importing")
def test_the_folder_is_on_the_path_once(tmp_path):
    LoadedGraphs({}, tmp_path)
    LoadedGraphs({}, tmp_path)
    assert sys.path.count(str(tmp_path)) == 1


@pytest.mark.usefixtures("importing")
def test_a_name_that_is_not_configured_is_not_there(tmp_path):
    registry = LoadedGraphs({}, tmp_path)
    assert "os:system" not in registry
    with pytest.raises(KeyError):
        registry["os:system"]


@pytest.mark.usefixtures("importing")
@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("registry_absent:graph", "cannot be loaded from .*ModuleNotFoundError"),
        ("registry_broken:graph", "cannot be loaded from .*ZeroDivisionError: division"),
        ("absent.py:graph", "cannot be loaded from .*FileNotFoundError"),
        ("registry_module:absent", "is missing; expected the result of StateGraph.compile"),
        ("registry_module:builder", "is a StateGraph; expected the result of StateGraph.compile"),
    ],
)
def test_a_graph_that_cannot_be_loaded_is_named_with_its_reason(target, text, tmp_path):
    (tmp_path / "registry_module.py").write_text(MODULE)
    (tmp_path / "registry_broken.py").write_text("1 / 0\n")
    with pytest.raises(ConfigurationError, match=f"the graph 'mine'.*{text}"):
        LoadedGraphs({"mine": target}, tmp_path)
