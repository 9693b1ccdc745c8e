"""Let two agents serve a customer: `python -m examples.handover`."""

import sys

from examples.handover import builder
from orchestrator import InMemorySaver


def main() -> None:
    """Ask twice in one conversation, and show who answers."""
    say = sys.stdout.write
    graph = builder.compile(checkpointer=InMemorySaver())
    for question in ("What is the price?", "My kettle is broken!"):
        say(f"customer: {question}\n")
        asked = {"lines": [("customer", question)]}
        for update in graph.stream(asked, "customer-1", stream_mode="updates"):
            for written in update.values():
                for agent, text in written["lines"]:
                    say(f"{agent}: {text}\n")
    kept = graph.get_state("customer-1").values["lines"]
    say(f"The thread remembers {len(kept)} lines.\n")


if __name__ == "__main__":
    main()
