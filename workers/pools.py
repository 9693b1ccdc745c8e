"""Which of Celery's pools a worker has, and which of their options work in it.

Processes that are recycled need no care of their own: one exits between two messages, so it holds
no claim, and its keeper finds the one that follows. (`keeper.py`)
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

__all__ = ["POOLS", "add_pool_options", "pool_arguments", "refused_pool"]

POOLS = ("prefork", "threads", "solo")
_GREEN = ("gevent", "eventlet")


def refused_pool(name: str) -> str:
    """Return why a worker cannot have a pool; empty: it can."""
    if name in POOLS:
        return ""
    known = ", ".join(POOLS)
    if name in _GREEN:
        return (
            f"the pool must be one of {known} ({name}): green threads share one OS thread, and a "
            f"step waits for its store and for its coroutines in a way that blocks it, so steps "
            f"would run one at a time. Use --pool threads, and async nodes for what waits"
        )
    return f"the pool must be one of {known} ({name})"


def add_pool_options(parser: argparse.ArgumentParser) -> None:
    """Let a command line name the pool and its options."""
    parser.add_argument("-P", "--pool", type=_pool, default="prefork", help=", ".join(POOLS))
    parser.add_argument(
        "--max-tasks-per-child",
        type=_positive,
        metavar="N",
        help="replace a pool process after so many messages (prefork)",
    )
    parser.add_argument(
        "--max-memory-per-child",
        type=_positive,
        metavar="KIB",
        help="replace a pool process that uses more memory than this after a message (prefork)",
    )
    parser.add_argument(
        "--autoscale",
        type=_range,
        metavar="MAX,MIN",
        help="have as many pool processes as there is work for, within these bounds (prefork)",
    )


def pool_arguments(options: argparse.Namespace) -> Iterator[str]:
    """Yield the arguments for Celery.

    Raises:
        ValueError: if the pool has no such option.
    """
    yield f"--pool={options.pool}"
    for name in ("max_tasks_per_child", "max_memory_per_child", "autoscale"):
        value = getattr(options, name)
        if value is None:
            continue
        option = "--" + name.replace("_", "-")
        if options.pool != "prefork":
            msg = (
                f"{option} needs --pool prefork ({options.pool}): the other pools run nodes in the "
                f"worker's own process, which cannot be replaced under them. Leave the option out"
            )
            raise ValueError(msg)
        yield f"{option}={value}"


def _pool(name: str) -> str:
    if why := refused_pool(name):
        raise argparse.ArgumentTypeError(why)
    return name


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        msg = f"it must be a whole number greater than 0 ({text})"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def _range(text: str) -> str:
    bounds = text.split(",")
    whole = all(bound.isascii() and bound.isdigit() for bound in bounds)
    if not (whole and len(bounds) == 2 and 1 <= int(bounds[1]) <= int(bounds[0])):
        msg = f"it must be MAX,MIN: whole numbers, MIN at least 1, MAX not below MIN ({text})"
        raise argparse.ArgumentTypeError(msg)
    return text
