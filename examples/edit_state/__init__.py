"""A person corrects an error of the machine, and the run continues from there.

The run stops before it sends the order. `update_state` changes the state as if the node `extract`
had returned the correction, so its edges apply, and completed steps do not run again.
"""

from typing import TypedDict

from orchestrator import END, START, StateGraph


class State(TypedDict, total=False):
    """An invoice on its way."""

    text: str
    amount: int
    sent: str


def extract(state: State) -> State:
    """Find the amount in the text, not very cleverly."""
    digits = "".join(letter for letter in state["text"] if letter.isdigit())
    return {"amount": int(digits)}


def send(state: State) -> State:
    """Send the invoice."""
    return {"sent": f"Please pay {state['amount']} euros."}


builder = StateGraph(State)
builder.add_node(extract)
builder.add_node(send)
builder.add_edge(START, "extract")
builder.add_edge("extract", "send")
builder.add_edge("send", END)
