"""Draft, ask a person, finalize: `python -m examples.approval`."""

import sys

from examples.approval import builder
from orchestrator import InMemorySaver


def main() -> None:
    """Run until the review pauses, then approve."""
    say = sys.stdout.write
    graph = builder.compile(checkpointer=InMemorySaver())
    config = {"thread_id": "task1"}
    try:
        graph.invoke({"topic": "durable graphs"}, config=config)
    except InterruptedError as pause:
        say(f"The run pauses: {pause}\n")
    snapshot = graph.get_state(config)
    say(f"It has so far: {snapshot.values}\n")
    say(f"What comes next: {', '.join(snapshot.next)}\n")

    result = graph.invoke({"approved": True}, config={"thread_id": "task1"})
    say(f"Approved. The final text: {result['final']}\n")


if __name__ == "__main__":
    main()
