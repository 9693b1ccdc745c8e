"""A retry policy tries a failed step again after a while; its siblings are not repeated.

Attempts are counted where the thread is kept. The clock is passed in, so this test does not wait.
"""

from typing import TypedDict

import pytest

from orchestrator import START, MemoryCheckpointer, RetryPolicy, StateGraph
from orchestrator.dispatch.local import InProcess
from orchestrator.testing.manual_clock import ManualClock


class State(TypedDict, total=False):
    answer: str


def flaky(failures, error):
    """A node that fails so many times; and the attempts it saw."""
    attempts = []

    def ask(state, ctx):
        attempts.append(ctx.attempt)
        if len(attempts) <= failures:
            raise error
        return {"answer": "42"}

    return ask, attempts


def build(node, policy):
    clock = ManualClock()
    builder = StateGraph(State).add_node("ask", node, retry_policy=policy).add_edge(START, "ask")
    return builder.compile(MemoryCheckpointer(clock=clock), executor=InProcess(clock=clock))


def test_a_lost_connection_is_tried_again():
    node, attempts = flaky(2, ConnectionError("lost"))

    assert build(node, RetryPolicy(max_attempts=3)).invoke({}, "t") == {"answer": "42"}
    assert attempts == [1, 2, 3]


def test_after_the_last_attempt_the_run_fails_and_may_be_resumed():
    node, attempts = flaky(2, ConnectionError("lost"))
    graph = build(node, RetryPolicy(max_attempts=2))

    with pytest.raises(ConnectionError):
        graph.invoke({}, "t")
    assert graph.invoke(None, "t") == {"answer": "42"}
    assert attempts == [1, 2, 3]


def test_a_fault_of_the_program_is_not_tried_again_by_default():
    node, attempts = flaky(1, ValueError("wrong"))

    with pytest.raises(ValueError, match="wrong"):
        build(node, RetryPolicy()).invoke({}, "t")
    assert attempts == [1]


def test_a_policy_says_what_is_worth_trying_again():
    node, attempts = flaky(1, ValueError("not yet"))

    build(node, RetryPolicy(retry_on=ValueError)).invoke({}, "t")
    assert attempts == [1, 2]
