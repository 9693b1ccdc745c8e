"""Correct a state by hand and continue: `python -m examples.edit_state`."""

import sys

from examples.edit_state import builder
from orchestrator import InMemorySaver

THREAD = "invoice-7"


def main() -> None:
    """Stop before sending, correct the amount, continue, and list the history."""
    say = sys.stdout.write
    graph = builder.compile(checkpointer=InMemorySaver(), interrupt_before=["send"])
    graph.invoke({"text": "2 chairs, 90 euros"}, THREAD)
    found = graph.get_state(THREAD)
    say(f"Found: {found.values['amount']} euros. Next: {found.next[0]}\n")

    graph.update_state(THREAD, {"amount": 90}, as_node="extract")
    say(f"Sent: {graph.invoke(None, THREAD)['sent']}\n")

    say("What happened, newest first:\n")
    for snapshot in graph.get_state_history(THREAD):
        amount = snapshot.values.get("amount", "nothing")
        say(f"  {snapshot.metadata['source']}: amount {amount}\n")


if __name__ == "__main__":
    main()
