"""An audit of a whole deployment, for the command line."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.checkpoint.audit import Damage
from orchestrator.checkpointer.redis.store import RedisCheckpointer
from orchestrator.cli.options import read_settings
from orchestrator.coordinate.auditor import Auditor

__all__ = ["audited"]


def audited(url: str | None, *, repair: bool) -> tuple[int, Sequence[Damage]]:
    """Look at every thread once; return how many there are, and what is wrong.

    Raises:
        CheckpointerUnavailableError: if the server does not answer.
    """
    store = RedisCheckpointer(settings=read_settings(url))
    try:
        audit = Auditor(store, repair=repair).all()
    finally:
        store.close()
    return audit.threads, audit.found
