"""Celery workers that run the steps of durable graphs."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a worker in this process; see `workers.__main__`."""
    from workers.__main__ import main as run  # noqa: PLC0415 - importing this package must stay cheap

    return run(argv)
