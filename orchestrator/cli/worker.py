"""`graphstalk worker`: one worker in this process."""

from __future__ import annotations

import os

import click

from orchestrator.cli.command_options import (
    debug_option,
    from_workers,
    graphs_option,
    url_option,
    with_graphs,
)
from orchestrator.cli.stop_signals import raise_again

POOLS = ("prefork", "threads", "solo")
LEVELS = ("debug", "info", "warning", "error", "critical")


def worker_arguments(
    *,
    concurrency: int | None = None,
    queues: str | None = None,
    pool: str | None = None,
    loglevel: str | None = None,
    max_tasks_per_child: int | None = None,
    max_memory_per_child: int | None = None,
    autoscale: str | None = None,
) -> list[str]:
    """Return the arguments for `workers.main`, of the options that are given."""
    given = {
        "--concurrency": concurrency,
        "--queues": queues,
        "--pool": pool,
        "--loglevel": loglevel,
        "--max-tasks-per-child": max_tasks_per_child,
        "--max-memory-per-child": max_memory_per_child,
        "--autoscale": autoscale,
    }
    return [f"{name}={value}" for name, value in given.items() if value is not None]


@click.command()
@click.option("--queues", "-Q", metavar="A,B", help="The queues to read steps from.")
@click.option("--concurrency", "-c", type=click.IntRange(min=1), help="Steps run side by side.")
@click.option(
    "--pool",
    metavar="[prefork|threads|solo]",
    help="How steps run side by side: in processes (the default), OS threads, or one by one.",
)
@click.option(
    "--max-tasks-per-child",
    type=click.IntRange(min=1),
    metavar="N",
    help="Replace a pool process after N messages (prefork).",
)
@click.option(
    "--max-memory-per-child",
    type=click.IntRange(min=1),
    metavar="KIB",
    help="Replace a pool process that uses more memory than this after a message (prefork).",
)
@click.option(
    "--autoscale",
    metavar="MAX,MIN",
    help="As many pool processes as there is work for, within these bounds (prefork).",
)
@click.option(
    "--loglevel", "-l", type=click.Choice(LEVELS), help="The lowest level that is logged."
)
@graphs_option
@url_option
@debug_option
def worker(  # noqa: PLR0913 - one for each option
    *,
    queues: str | None,
    concurrency: int | None,
    pool: str | None,
    max_tasks_per_child: int | None,
    max_memory_per_child: int | None,
    autoscale: str | None,
    loglevel: str | None,
    graphs: dict[str, str],
    url: str | None,
) -> int:
    """Run one worker in this process, until SIGTERM (exit code 0) or Ctrl-C (130).

    A worker finishes its running steps before it stops. If it is killed, other workers run them.
    """
    environment = with_graphs(os.environ, graphs)
    if url:
        environment["REDIS_URL"] = url
    os.environ.update(environment)
    arguments = worker_arguments(
        concurrency=concurrency,
        queues=queues,
        pool=pool,
        loglevel=loglevel,
        max_tasks_per_child=max_tasks_per_child,
        max_memory_per_child=max_memory_per_child,
        autoscale=autoscale,
    )
    code = int(from_workers().main(arguments))
    raise_again()  # Celery ends with 1 after a signal that came before it handles signals itself.
    return code
