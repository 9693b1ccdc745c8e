"""An approval gate: a draft is reviewed by a person before it is finalized.

The node `review` raises `InterruptedError` until a person has approved. The thread is kept at that
node, and the next input, `{"approved": True}`, continues it there: nothing is drafted twice.
"""

from typing import TypedDict

from orchestrator import END, START, StateGraph


class State(TypedDict, total=False):
    """What is known about one text."""

    topic: str
    draft: str
    approved: bool
    final: str


def write_draft(state: State) -> State:
    """Write a text about the topic."""
    return {"draft": f"All about {state['topic']}."}


def review(state: State) -> State:
    """Let the draft pass once it is approved; pause the thread until then."""
    if not state.get("approved"):
        raise InterruptedError("waiting for approval")
    return {}


def finalize(state: State) -> State:
    """Make the approved draft the final text."""
    return {"final": state["draft"].upper()}


builder = StateGraph(State)
builder.add_node("draft", write_draft)
builder.add_node(review)
builder.add_node(finalize)
builder.add_edge(START, "draft")
builder.add_edge("draft", "review")
builder.add_edge("review", "finalize")
builder.add_edge("finalize", END)
