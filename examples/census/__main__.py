"""Take a census in this process: `python -m examples.census --path DIR`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from examples.census import builder
from orchestrator import Command
from orchestrator.checkpointer.memory import MemoryCheckpointer


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the report of one folder, accepting whatever the review asks.

    Returns the exit code: 0, or 2 where the arguments leave nothing to count.
    """
    options = _parser().parse_args(arguments)
    limits = {"complexity": options.complexity, "lines": options.lines}
    threshold = {key: limit for key, limit in limits.items() if limit is not None}
    # A review can only wait for its answer where there is a checkpointer to keep the thread.
    graph = builder.compile(checkpointer=MemoryCheckpointer())
    config = {"configurable": {"thread_id": "census"}}
    try:
        state = graph.invoke({"path": options.path, "threshold": threshold}, config)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"census: {error}\n")
        return 2
    if state.get("__interrupt__"):
        answer = {"decision": "accept", "note": "Accepted by the command line."}
        state = graph.invoke(Command(resume=answer), config)
    sys.stdout.write(state["report_markdown"])
    if options.svg is not None:
        options.svg.write_text(state["report_svg"], encoding="utf-8")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m examples.census", description=main.__doc__)
    parser.add_argument("--path", help="the folder; default: the standard library")
    parser.add_argument("--complexity", type=int, help="the greatest complexity without a review")
    parser.add_argument("--lines", type=int, help="the greatest length without a review")
    parser.add_argument("--svg", type=Path, help="a file to write the chart to")
    return parser


if __name__ == "__main__":
    sys.exit(main())
