"""Running a worker: Celery's own, with the keeper beside it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from orchestrator.checkpointer.redis.store import RedisCheckpointer
from orchestrator.config import Settings
from orchestrator.errors import CheckpointerUnavailableError, GraphstalkError
from workers.registry import GRAPHS_VARIABLE, parse_graphs

__all__ = ["main"]

_INTERRUPTED = 130  # As each command after Ctrl-C: 128 + SIGINT.


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="graphstalk worker", description=__doc__)
    parser.add_argument("-Q", "--queues", default="", help="queues to take steps from, with commas")
    parser.add_argument("-c", "--concurrency", type=int, default=os.cpu_count() or 1)
    parser.add_argument("-P", "--pool", choices=("prefork", "threads", "solo"), default="prefork")
    parser.add_argument("--graphs", action="append", default=[], metavar="NAME=MODULE:ATTRIBUTE")
    parser.add_argument("-l", "--loglevel", default="warning")
    parser.add_argument("-n", "--name", default="", help="the worker's name in Flower")
    parser.add_argument("-E", "--events", action="store_true", help="always send task events")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a worker in this process until it is told to stop; return its exit code."""
    if not __debug__:
        sys.stderr.write(
            "graphstalk: a worker does not run under python -O: its checks are asserts\n"
        )
        return 2
    options = _parser().parse_args(argv)
    if options.graphs:
        pairs = parse_graphs(",".join(options.graphs))
        os.environ[GRAPHS_VARIABLE] = ",".join(f"{n}={target}" for n, target in pairs.items())
    settings = Settings.from_env()
    arguments = [
        "--quiet",
        "worker",
        f"--queues={options.queues or settings.queue}",
        f"--concurrency={options.concurrency}",
        f"--pool={options.pool}",
        f"--loglevel={options.loglevel}",
        f"--hostname={options.name or f'worker-{os.getpid()}'}@%h",
        "--without-gossip",
        "--without-mingle",
        *(["-E"] if options.events else []),
    ]
    try:
        from workers.registry import configured  # noqa: PLC0415
        from workers.runtime import registry  # noqa: PLC0415

        if not configured():
            sys.stderr.write(
                "graphstalk: no graphs are configured, so there is nothing to run. Give --graphs "
                "name=package.module:attribute, or [tool.graphstalk] graphs in pyproject.toml\n"
            )
            return 2
        registry()
        with suppress(CheckpointerUnavailableError):  # Checked again when there is a server.
            RedisCheckpointer(settings=settings).check()
    except GraphstalkError as error:
        sys.stderr.write(f"graphstalk: {error} [{error.code}]\n")
        return 2
    from celery.signals import worker_init, worker_shutting_down  # noqa: PLC0415 - slow to import

    from workers.app import app  # noqa: PLC0415 - reads the environment that was just set

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
    return _exit_code(stopped_by, int(made[0].exitcode or 0))


def _exit_code(stopped_by: Sequence[str], found: int) -> int:
    """Return 130 after Ctrl-C, for which Celery has 1, else what was found."""
    return _INTERRUPTED if "SIGINT" in stopped_by else found
