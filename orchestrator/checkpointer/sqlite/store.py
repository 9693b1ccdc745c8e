"""The checkpointer in one SQLite file.

Each method is one transaction. `schema.sql` has the layout of what is stored, `transition.py` the
checks and their order.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Self

from orchestrator.checkpointer.base import Planner
from orchestrator.checkpointer.saver import BaseCheckpointSaver, check_serde
from orchestrator.checkpointer.sqlite import commits, queries, upkeep
from orchestrator.checkpointer.sqlite.database import Database, Synchronous
from orchestrator.checkpointer.sqlite.upkeep import Audit, Sweep, mark_sent
from orchestrator.clock import Clock, SystemClock
from orchestrator.config import Settings
from orchestrator.envelope.event_codec import opened_events
from orchestrator.envelope.sealed_records import (
    opened_claim,
    opened_thread,
    parsing,
    sealed,
)
from orchestrator.errors import NotSupportedError
from orchestrator.frozen import replace
from orchestrator.model.audit import Audited
from orchestrator.model.checkpoint import Head, RunStatus
from orchestrator.model.commit import (
    Claim,
    Commit,
    CommitResult,
    Event,
    LoadedThread,
    ReadyStep,
    Refusal,
    Swept,
)

__all__ = ["SqliteCheckpointer"]

_POLL_S = 0.05  # How often a waiting caller polls for events of other processes.


class SqliteCheckpointer(BaseCheckpointSaver):
    """Threads in a file that several OS threads and processes of one machine may use."""

    partitions = 1  # A file has one writer at a time, so there is nothing to spread.
    pushes = False  # A file is no broker.

    @classmethod
    @contextmanager
    def from_conn_string(cls, conn_string: str) -> Iterator[Self]:
        """Keep threads in a file while the block runs; LangGraph's way to open one."""
        made = cls(conn_string)
        try:
            yield made
        finally:
            made.close()

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        serde: None = None,
        settings: Settings | None = None,
        clock: Clock | None = None,
        synchronous: Synchronous = "full",
    ) -> None:
        """Keep threads in the file at `path`; it is made if it is not there.

        Args:
            path: of the file, on a disk of this machine; `":memory:"` keeps nothing beyond this
                object.
            serde: refused: there is one codec.
            settings: patience; the rest of them is of no concern here.
            clock: the store's time; all processes that use the file must share it.
            synchronous: `"full"`: a commit is on the disk when it returns. `"normal"`: the last
                commits may be lost with the power, not with a process.

        Raises:
            CheckpointerUnavailableError: if the file cannot be opened.
            StateCorruptedError: if it is something else, or of a newer layout.
            NotSupportedError: if it is a connection, as of LangGraph's saver, or `serde` is given.
        """
        check_serde(serde)
        if not isinstance(path, str | os.PathLike):
            msg = (
                f"path must be the path of a file, which the checkpointer opens itself "
                f"(path={path!r:.80}). Use SqliteCheckpointer('threads.db')"
            )
            raise NotSupportedError(msg)
        self.settings = settings or Settings()
        self._clock = clock or SystemClock()
        self._database = Database(path, synchronous)
        self.shared = not self._database.in_memory

    @property
    def path(self) -> str:
        """Return where the file is."""
        return self._database.path

    def stale_refused(self) -> int:
        """Return how many commits under an old fence were refused. (INV-3)"""
        with self._database.reading() as connection:
            return queries.stat(connection, "stale_refused")

    # ---- commit and claim ---------------------------------------------------------------

    def commit(self, commit: Commit, meanwhile: Callable[[], None] | None = None) -> CommitResult:
        """See `Checkpointer.commit`."""
        del meanwhile  # There is nothing to wait for.
        plain, commit = commit, sealed(commit)
        now = self._clock.now_ms()
        with parsing(commit.thread_id), self._database.writing() as connection:
            result, head = commits.commit(connection, commit, now)
            if result.refused is not None or commit.takes is None:
                return result
            claim = commits.claim_of_commit(connection, plain, head, self._lease_ms, now)
        return result if claim.refused is not None else replace(result, claim=claim)

    def claim(
        self,
        thread_id: str,
        step_id: str,
        *,
        owner: str,
        token: str,
        known: Sequence[str] = (),
        sent_ms: int = 0,
    ) -> Claim:
        """See `Checkpointer.claim`."""
        asked = commits.Asked(thread_id, step_id, owner, token, set(known), sent_ms)
        # A claim that is lost with the power was lost together with its owner.
        with parsing(thread_id), self._database.writing(durable=False) as connection:
            claim = commits.claim(connection, asked, self._lease_ms, self._clock.now_ms())
        return opened_claim(thread_id, claim)

    @property
    def _lease_ms(self) -> int:
        return int(self.settings.lease_ttl_s * 1000)

    # ---- leases -------------------------------------------------------------------------

    def renew(self, owners: Sequence[str], *, ttl_s: float) -> None:
        """See `Checkpointer.renew`."""
        if not owners:
            return
        with self._database.writing(durable=False) as connection:
            end_ms = self._clock.now_ms() + int(ttl_s * 1000)
            for owner in owners:
                commits.renew(connection, owner, end_ms)

    def release(self, owner: str, *, died: bool = True) -> list[ReadyStep]:
        """See `Checkpointer.release`."""
        with self._database.writing() as connection:
            return commits.release(connection, owner, self._clock.now_ms(), died=died)

    # ---- sweeping -----------------------------------------------------------------------

    def sweep(self, partition: int, *, leader: str) -> Swept:
        """See `Checkpointer.sweep`."""
        assert partition == 0
        times = self._lease_ms, int(self.settings.hint_grace_s * 1000)
        with self._database.reading() as connection:
            # Deaths and their events must last; a sweep that finds none is not worth a flush.
            durable = Sweep(connection, self._clock.now_ms(), *times).may_release()
        with self._database.writing(durable=durable) as connection:
            return Sweep(connection, self._clock.now_ms(), *times).once(leader)

    def mark_sent(self, steps: Sequence[ReadyStep]) -> None:
        """See `Checkpointer.mark_sent`."""
        with self._database.writing(durable=False) as connection:
            now = self._clock.now_ms()
            for step in steps:
                mark_sent(connection, step, now)

    def audit(
        self, partition: int, *, plan: Planner, repair: bool, cursor: str = "", limit: int = 100
    ) -> Audited:
        """See `Checkpointer.audit`."""
        assert partition == 0
        now, queue = self._clock.now_ms(), self.settings.queue
        with self._database.writing() if repair else self._database.reading() as connection:
            return Audit(connection, now, queue, plan, repair).some(cursor, limit)

    # ---- deleting -----------------------------------------------------------------------

    def children(self, thread_id: str) -> list[str]:
        """See `Checkpointer.children`."""
        with self._database.reading() as connection:
            return upkeep.children(connection, thread_id)

    def delete(self, thread_id: str, *, keep_head: bool = False) -> Refusal | None:
        """See `Checkpointer.delete`."""
        with parsing(thread_id), self._database.writing() as connection:
            now = self._clock.now_ms()
            return upkeep.delete(connection, thread_id, now, keep_head=keep_head)

    # ---- reading ------------------------------------------------------------------------

    def load(
        self, thread_id: str, *, checkpoint_id: int | None = None, values: bool = True
    ) -> LoadedThread | None:
        """See `Checkpointer.load`."""
        with parsing(thread_id), self._database.reading() as connection:
            now = self._clock.now_ms()
            loaded = queries.load(connection, thread_id, checkpoint_id, values=values, now=now)
        return loaded and opened_thread(thread_id, *loaded)

    def history(self, thread_id: str, *, before: int | None = None, limit: int = 100) -> list[int]:
        """See `Checkpointer.history`."""
        with self._database.reading() as connection:
            return queries.history(connection, thread_id, before, limit)

    def threads(
        self, *, status: RunStatus | None = None, limit: int = 100
    ) -> list[tuple[str, Head]]:
        """See `Checkpointer.threads`."""
        with self._database.reading() as connection:
            return queries.threads(connection, status, limit)

    def events(
        self, thread_id: str, *, after: int = 0, limit: int = 1000, wait_s: float = 0
    ) -> list[Event]:
        """See `Checkpointer.events`."""
        end = time.monotonic() + wait_s
        while True:
            changes = self._database.changes
            with self._database.reading() as connection:
                found = queries.events(connection, thread_id, after, limit)
            left_s = end - time.monotonic()
            if found or left_s <= 0:
                return opened_events(thread_id, found)
            # Writes of this process wake at once; those of other processes are polled for.
            self._database.wait(changes, min(left_s, _POLL_S) if self.shared else left_s)

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        self._database.close()
