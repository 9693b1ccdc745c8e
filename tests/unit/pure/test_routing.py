"""What steers a run."""

import dataclasses

import pytest

from orchestrator.channels import MISSING
from orchestrator.graph.routing import END, START, Command, Send


@pytest.mark.parametrize(
    ("goto", "targets"),
    [
        ((), ()),
        ("a", ("a",)),
        (Send("a", 1), (Send("a", 1),)),
        (["a", Send("b", 1)], ("a", Send("b", 1))),
    ],
)
def test_a_command_leads_to_one_or_several(goto, targets):
    assert Command(goto=goto).targets() == targets


def test_an_answer_of_none_is_told_from_no_answer():
    assert Command(resume=None).resume is None
    assert Command().resume is MISSING


def test_sends_are_equal_by_node_and_argument():
    assert Send("a", {"x": 1}) == Send("a", {"x": 1})
    assert Send("a", 1) != Send("a", 2)


@pytest.mark.parametrize(("made", "field"), [(Send("a", 1), "arg"), (Command(), "goto")])
def test_what_steers_is_frozen(made, field):
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(made, field, "other")


def test_the_ends_are_those_of_langgraph():
    assert (START, END, Command.PARENT) == ("__start__", "__end__", "__parent__")
