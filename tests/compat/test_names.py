"""The table of LangGraph's names is complete and current."""

from pathlib import Path

import pytest

from tests.compat import names, reasons

TABLE = Path(__file__).resolve().parents[2] / "docs" / "langgraph-names.md"

pytestmark = pytest.mark.filterwarnings("ignore")  # LangGraph's own, about what it will remove.


def test_the_committed_table_is_current():
    again = "python -m tests.compat.names --markdown > docs/langgraph-names.md"
    assert TABLE.read_text(encoding="utf-8") == names.markdown(names.table()), again


def test_a_name_that_nobody_looked_at_is_an_error(monkeypatch):
    monkeypatch.delitem(reasons.MISSING, "langgraph.types.TracePolicy")
    with pytest.raises(names.NoVerdictError, match=r"TracePolicy: no verdict"):
        names.table()


def test_a_parameter_that_nobody_looked_at_is_an_error(monkeypatch):
    monkeypatch.delitem(reasons.PARAMETERS, "langgraph.graph.StateGraph.add_node")
    with pytest.raises(names.NoVerdictError, match=r"add_node\(trace_policy=…\): no verdict"):
        names.table()


def test_a_reason_for_what_is_here_is_an_error(monkeypatch):
    monkeypatch.setitem(reasons.MISSING, "langgraph.types.Send", "forgotten")
    with pytest.raises(names.NoVerdictError, match="said to be missing"):
        names.table()


def test_a_reason_for_what_langgraph_has_not_is_an_error(monkeypatch):
    monkeypatch.setitem(reasons.DIFFERS, "langgraph.types.Sent", "a slip of the pen")
    with pytest.raises(names.NoVerdictError, match="no such name"):
        names.table()


def test_parameters_that_have_changed_places_are_an_error():
    def theirs(a, b, c):
        pass

    def ours(a, c, b):
        pass

    assert names.moved(theirs, ours) == ["a", "c", "b"]
    assert names.moved(theirs, theirs) == []
