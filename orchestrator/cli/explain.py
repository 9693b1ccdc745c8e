"""`graphstalk explain`: what a thread waits for."""

from __future__ import annotations

import click

from orchestrator.cli.exits import Exit
from orchestrator.cli.options import (
    as_json_option,
    connecting,
    graphs_option,
    open_reader,
    traceback_option,
)
from orchestrator.cli.output import show, show_json

__all__ = ["explain"]


@click.command()
@click.argument("thread")
@click.option("--run", default="", metavar="RUN", help="A run that waits in the thread's line.")
@graphs_option
@as_json_option
@traceback_option
@connecting
def explain(
    *,
    thread: str,
    run: str,
    graphs: dict[str, str],
    as_json: bool,
    with_traceback: bool,
    url: str | None,
) -> int:
    """Show what THREAD waits for: a worker, a lease, a timer, an answer, a person.

    With --graphs it also shows how often a step is tried.
    """
    with open_reader(url, graphs) as client:
        found = client.explain(thread, run)
    if as_json:
        show_json(found)
    else:
        show(f"{found.status}: {found}")
        if with_traceback:
            for reason in found.reasons:
                if reason.traceback:
                    show(reason.traceback.rstrip())
    return Exit.OK
