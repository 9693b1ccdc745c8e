"""Running a worker: Celery's own, with the keeper beside it. `python -m workers`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from orchestrator.config import Settings
from orchestrator.dispatch.broker import open_store
from orchestrator.errors import CheckpointerUnavailableError, GraphstalkError
from workers.configuration import GRAPHS_VARIABLE, add_pool_options, parse_graphs, pool_arguments

__all__ = ["main"]

_INTERRUPTED = 130  # As each command after Ctrl-C: 128 + SIGINT.


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="graphstalk worker",
        description="Run a worker: Celery's own, with the keeper beside it.",
    )
    parser.add_argument("-Q", "--queues", default="", help="queues to take steps from, with commas")
    parser.add_argument("-c", "--concurrency", type=int, default=os.cpu_count() or 1)
    add_pool_options(parser)
    parser.add_argument("--graphs", action="append", default=[], metavar="NAME=MODULE:ATTRIBUTE")
    parser.add_argument("-l", "--loglevel", default="warning")
    parser.add_argument("-n", "--name", default="", help="the worker's name in Flower")
    parser.add_argument("-E", "--events", action="store_true", help="always send task events")
    return parser


def _broker_queues(given: str, settings: Settings) -> list[str]:
    """Return the broker's names of the queues that were given, with commas between them."""
    queues = [name.strip() for name in given.split(",") if name.strip()] or [settings.queue]
    return [settings.queue_prefix + name for name in queues]


def _refusal(settings: Settings) -> str:
    """Load the graphs and try the connections; return why a worker cannot start, or ""."""
    from workers.configuration import configured  # noqa: PLC0415
    from workers.process import loaded_graphs  # noqa: PLC0415

    try:
        if not configured():
            return (
                "no graphs are configured, so there is nothing to run. Give --graphs "
                "name=package.module:attribute, or [tool.graphstalk] graphs in pyproject.toml"
            )
        loaded_graphs()
        from workers.app import make_app  # noqa: PLC0415 - slow to import
        from workers.connections import try_connections  # noqa: PLC0415

        for line in try_connections(settings, make_app):
            sys.stderr.write(f"graphstalk: {line}\n")
        with suppress(CheckpointerUnavailableError):  # Checked again when there is a server.
            open_store(settings, sends=False).check()
    except GraphstalkError as error:
        return f"{error} [{error.code}]"
    return ""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a worker in this process until it gets a signal to stop; return its exit code."""
    if not __debug__:
        sys.stderr.write(
            "graphstalk: a worker does not run under python -O: its checks are asserts\n"
        )
        return 2
    parser = _parser()
    options = parser.parse_args(argv)
    try:
        of_pool = list(pool_arguments(options))
    except ValueError as error:
        parser.error(str(error))
    if options.graphs:
        pairs = parse_graphs(",".join(options.graphs))
        os.environ[GRAPHS_VARIABLE] = ",".join(f"{n}={target}" for n, target in pairs.items())
    try:
        settings = Settings.from_env()
    except ValueError as error:
        sys.stderr.write(f"graphstalk: {error}\n")
        return 2
    arguments = [
        "--quiet",
        "worker",
        f"--queues={','.join(_broker_queues(options.queues, settings))}",
        f"--concurrency={options.concurrency}",
        *of_pool,
        f"--loglevel={options.loglevel}",
        f"--hostname={options.name or f'worker-{os.getpid()}'}@%h",
        "--without-gossip",
        "--without-mingle",
        *(["-E"] if options.events else []),
    ]
    if refusal := _refusal(settings):
        sys.stderr.write(f"graphstalk: {refusal}\n")
        return 2
    from celery.signals import worker_init, worker_shutting_down  # noqa: PLC0415 - slow to import

    from workers.app import app  # noqa: PLC0415 - reads the environment that was just set
    from workers.bootsteps import LeaseKeeper  # noqa: PLC0415

    made: list[Any] = []
    stopped_by: list[str] = []
    worker_init.connect(lambda sender, **_: made.append(sender), weak=False)
    worker_shutting_down.connect(lambda sig, **_: stopped_by.append(sig), weak=False)
    try:
        app.worker_main(arguments)
    except SystemExit as error:  # A second signal ends a worker without waiting for its nodes.
        return _exit_code(stopped_by, error.code if isinstance(error.code, int) else 1)
    # `worker_main` does not return it: 1 if a pool process died before the worker was ready, which
    # Celery takes for processes that cannot start. A supervisor then starts another worker.
    return _exit_code(stopped_by, int(made[0].exitcode or LeaseKeeper.exit_code))


def _exit_code(stopped_by: Sequence[str], found: int) -> int:
    """Return 130 after Ctrl-C, for which Celery has 1, else what was found."""
    return _INTERRUPTED if "SIGINT" in stopped_by else found


if __name__ == "__main__":
    sys.exit(main())
