"""What the command line does to a whole deployment: audit it, accept that it lost something."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from orchestrator import limits
from orchestrator.checkpoint.audit import Damage
from orchestrator.checkpoint.model import RunStatus
from orchestrator.checkpointer.redis.rollback_guard import Halt, accept, halts
from orchestrator.checkpointer.redis.store import RedisCheckpointer
from orchestrator.checkpointer.redis.workers import Fleet
from orchestrator.cli.options import read_settings
from orchestrator.config import Settings
from orchestrator.coordinate.auditor import Auditor

__all__ = ["Orphan", "accepted", "audited", "halted", "orphans"]


def audited(url: str | None, *, repair: bool) -> tuple[int, Sequence[Damage]]:
    """Look at every thread once; return how many there are, and what is wrong.

    Raises:
        CheckpointerUnavailableError: if the server does not answer.
    """
    with closing(RedisCheckpointer(settings=read_settings(url))) as store:
        audit = Auditor(store, repair=repair).all()
    return audit.threads, audit.found


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphan:
    """A thread that has not ended, and whose graph no living worker knows; as a `Damage`."""

    thread_id: str
    code: str
    why: str
    repaired: bool = False
    remedy: str = ""


def orphans(url: str | None) -> Sequence[Orphan]:
    """Return threads whose graph no living worker knows; nothing if no worker is alive at all.

    Of the threads in each status, the 1,000 that were changed last.

    Raises:
        CheckpointerUnavailableError: if the server does not answer.
    """
    with closing(RedisCheckpointer(settings=read_settings(url))) as store:
        workers = Fleet(store).workers()
        known = {graph for worker in workers for graph in worker.graphs}
        open_threads = [
            found
            for status in (RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.PAUSED)
            for found in store.threads(status=status, limit=limits.THREADS_PAGE_MAX)
        ]
    return [
        Orphan(
            thread_id=thread_id,
            code="NO_GRAPH",
            why=f"the thread is {head.status}, and no living worker knows its graph {head.graph!r}",
            remedy=f"start a worker that knows {head.graph}, or cancel the thread",
        )
        for thread_id, head in open_threads
        if workers and not head.local and head.graph not in known
    ]


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
