"""`graphstalk check`: would stored threads go on with this code?"""

from __future__ import annotations

from dataclasses import asdict

import click

from orchestrator.cli.exits import Exit
from orchestrator.cli.options import as_json_option, connecting, graphs_option, open_client
from orchestrator.cli.output import show, show_json

__all__ = ["check"]


@click.command()
@graphs_option
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=10_000,
    show_default=True,
    help="Look at so many threads at most, the latest changed first.",
)
@as_json_option
@connecting
def check(*, graphs: dict[str, str], limit: int, as_json: bool, url: str | None) -> int:
    """Load stored threads with the graphs of this code, and list what would stall or fail.

    Run it before a deploy, with the new code. Nothing is changed. Exit code 1 if something is
    found. With --json one object a line, and a summary last.
    """
    from orchestrator.cli.worker import from_workers  # --help must not pay for it.

    client = open_client(url, graphs or from_workers(".registry").configured())
    count = found = 0
    for trouble in client.check(limit=limit):
        count += 1
        if trouble is None:
            continue
        found += 1
        if as_json:
            show_json(asdict(trouble))
        else:
            show(f"{trouble.thread_id} ({trouble.graph}): {trouble.why} [{trouble.code}]")
    if as_json:
        show_json({"threads": count, "troubles": found})
    elif found:
        show(f"{found} of {count} threads would not go on")
    else:
        show(f"all of {count} threads would go on")
    return Exit.FAILURE if found else Exit.OK
