"""What the command line does to a whole deployment: audit it, accept that it lost something."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

from orchestrator.checkpoint.audit import Damage
from orchestrator.checkpointer.redis.epochs import Halt, accept, halts
from orchestrator.checkpointer.redis.store import RedisCheckpointer
from orchestrator.cli.options import read_settings
from orchestrator.config import Settings
from orchestrator.coordinate.auditor import Auditor

__all__ = ["accepted", "audited", "halted"]


def audited(url: str | None, *, repair: bool) -> tuple[int, Sequence[Damage]]:
    """Look at every thread once; return how many there are, and what is wrong.

    Raises:
        CheckpointerUnavailableError: if the server does not answer.
    """
    with closing(RedisCheckpointer(settings=read_settings(url))) as store:
        audit = Auditor(store, repair=repair).all()
    return audit.threads, audit.found


def accepted(url: str | None) -> dict[int, Halt]:
    """Accept what the server lost; return what was halted, by partition.

    Raises:
        CheckpointerUnavailableError: if the server does not answer.
    """
    with closing(RedisCheckpointer(settings=read_settings(url))) as store:
        return accept(store)


def halted(settings: Settings) -> dict[int, Halt]:
    """Return what is halted, by partition.

    Raises:
        CheckpointerUnavailableError: if the server does not answer.
    """
    with closing(RedisCheckpointer(settings=settings)) as store:
        return halts(store)
