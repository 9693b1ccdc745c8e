"""Wait for a service that calls back: `python -m examples.external_tool`."""

import sys
import threading
from typing import Any

from examples.external_tool import builder, farm
from orchestrator import Command, InMemorySaver, NoPendingInterruptError


def main() -> None:
    """Order, let the service work elsewhere, and take its callback."""
    say = sys.stdout.write
    graph = builder.compile(checkpointer=InMemorySaver())

    def callback(thread_id: str, frames: int) -> dict[str, Any]:
        """Do what a web server would do when the farm calls it."""
        result: dict[str, Any] = graph.invoke(Command(resume=frames), thread_id)
        return result

    asked = graph.invoke({"film": "Nosferatu"}, "film-1")["__interrupt__"][0]
    say(f"The run waits, and nothing runs meanwhile: {asked.value}\n")

    (job,) = farm.jobs.values()
    worker = threading.Thread(
        target=lambda: say(f"Rendered: {callback(job['thread_id'], 8_100)}\n")
    )
    worker.start()
    worker.join()

    try:
        callback("film-1", 8_100)
    except NoPendingInterruptError as error:
        say(f"The farm calls twice; the second call changes nothing: {error}\n")


if __name__ == "__main__":
    main()
