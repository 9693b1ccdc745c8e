"""The checkpointer as a process that does steps sees it: asked until it answers.

A question is asked again only if the server cannot have answered it twice: a claim carries a token
that brings back the same claim, and a commit uses up its claim, so the second one is
refused. Whatever the network swallowed, a step is committed once. (INV-2)
"""

from __future__ import annotations

import logging
import os
import random
import socket
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as replace_fields
from typing import ParamSpec, TypeVar

from orchestrator import limits
from orchestrator.checkpointer.base import Checkpointer, commit_to
from orchestrator.checkpointer.overlay import Overlay
from orchestrator.clock import Clock, SystemClock
from orchestrator.envelope.damage import Damaged
from orchestrator.errors import (
    CheckpointerUnavailableError,
    SlowTransferError,
    ValueTooLargeError,
)
from orchestrator.frozen import replace
from orchestrator.model.checkpoint import Head
from orchestrator.model.commit import Claim, Commit, CommitResult, LoadedThread, Take
from orchestrator.model.tails import Encoded, Grown, joined, whole

__all__ = ["Access", "BlobCache", "new_owner", "values_after"]

_T = TypeVar("_T")
_P = ParamSpec("_P")
_log = logging.getLogger(__name__)

SMALLER = "Store large values in files or an object store, and keep their addresses in the state"


_NOTHING: tuple[int, Mapping[str, Encoded]] = (0, {})


class BlobCache:
    """The latest known blobs of the threads used last, bounded in bytes but for the last one."""

    def __init__(self, bytes_max: int = 64 * 1024 * 1024) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        # Thread → how many bytes its blobs have, and the blobs.
        self._threads: OrderedDict[str, tuple[int, Mapping[str, Encoded]]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, thread_id: str) -> Mapping[str, Encoded]:
        """Return what is known of a thread; the caller may keep it."""
        with self._lock:
            return self._threads.get(thread_id, _NOTHING)[1]

    def put(self, thread_id: str, blobs: Mapping[str, Encoded]) -> None:
        """Remember the blobs of a thread's checkpoint, and forget older ones of that thread."""
        size = sum(map(len, blobs.values()))
        with self._lock:
            self._bytes += size - self._threads.pop(thread_id, _NOTHING)[0]
            self._threads[thread_id] = size, blobs
            while self._bytes > self._bytes_max and len(self._threads) > 1:
                self._bytes -= self._threads.popitem(last=False)[1][0]


@dataclass(slots=True)
class Access:
    """Access of one process to one checkpointer.

    Attributes:
        checkpointer: where threads are.
        owner: the name under which the process claims steps.
        attempts_max: how often a server that is away is asked; infinite for workers, which must not
            leave a claim behind that no process works on.
        finds_lost: returns for each of some claims whether it was taken away, where the process
            has a cheaper way to know than to load their threads.
        watches: whether claims can be taken away: not those on a thread that this call alone knows.
    """

    checkpointer: Checkpointer
    owner: str
    attempts_max: float = limits.COMMIT_ATTEMPTS_MAX
    cache: BlobCache = field(default_factory=BlobCache)
    clock: Clock = field(default_factory=SystemClock)
    finds_lost: Callable[[Sequence[Claim]], list[bool]] | None = None
    watches: bool = field(init=False)

    def __post_init__(self) -> None:
        self.watches = not isinstance(self.checkpointer, Overlay)

    def to(self, checkpointer: Checkpointer) -> Access:
        """Return the same process's access to a checkpointer, perhaps another one."""
        same = checkpointer is self.checkpointer
        finds_lost = self.finds_lost if same else None
        return replace_fields(self, checkpointer=checkpointer, finds_lost=finds_lost)

    def lost(self, claims: Sequence[Claim]) -> list[bool]:
        """Return for each claim whether it was taken away, or its thread deleted.

        Raises:
            CheckpointerUnavailableError: if the store does not answer.
        """
        if self.finds_lost is not None:
            return self.finds_lost(claims)
        return [self._is_lost(claim) for claim in claims]

    def _is_lost(self, claim: Claim) -> bool:
        assert claim.step is not None
        loaded = self.checkpointer.load(claim.step.thread_id, values=False)
        found = loaded.steps.get(claim.step.step_id) if loaded else None
        return found is None or (found.owner, found.attempt) != (self.owner, claim.attempt)

    def claim(
        self, thread_id: str, step_id: str, sent_ms: int = 0
    ) -> tuple[Claim, Mapping[str, Encoded]]:
        """Claim a step; return the claim and the blobs that this process knows besides."""
        known, token = self.cache.get(thread_id), _token()
        names = tuple(known)
        ask = self.checkpointer.claim
        claim = self.patiently(
            ask, thread_id, step_id, owner=self.owner, token=token, known=names, sent_ms=sent_ms
        )
        return _with_tails(claim, known) if claim.tails else (claim, known)

    def taking(self, commit: Commit, head: Head, known: Iterable[str]) -> Commit:
        """Return a commit that also claims the one step it makes ready, for this process.

        Args:
            commit: the commit.
            head: of its thread, as this process knows it.
            known: the names of the values that this process knows once the commit is made.
        """
        return replace(commit, take=Take(self.owner, _token(), tuple(known), head))

    def taken(self, commit: Commit, known: Mapping[str, Encoded]) -> Claim | None:
        """Return the claim of a commit that was made although its answer was lost, if it was.

        Args:
            commit: the commit.
            known: as in `commit`.
        """
        step, take = commit.takes, commit.take
        if step is None or take is None:
            return None
        loaded = self.load(step.thread_id)
        found = loaded.steps.get(step.step_id) if loaded else None
        if found is None or found.owner != self.owner:
            return None
        claim = self.patiently(
            self.checkpointer.claim,
            step.thread_id,
            step.step_id,
            owner=take.owner,
            token=take.token,
            known=tuple(known),
        )
        if claim.refused is not None:
            return None
        self.cache.put(commit.thread_id, known)
        return _whole(claim, known)

    def known(self, thread_id: str) -> Mapping[str, Encoded]:
        """Return the blobs of a thread that this process knows."""
        return self.cache.get(thread_id)

    def commit(
        self,
        commit: Commit,
        known: Mapping[str, Encoded] | None = None,
        meanwhile: Callable[[], None] | None = None,
    ) -> CommitResult:
        """Commit, or be refused.

        A commit whose answer was lost is refused when it is sent again, because the first one used
        up its claim; its result is the stored one all the same.

        Args:
            commit: the commit.
            known: the values of the checkpoint that it brings, to be kept for the next claim. Not
                before it is made: another attempt may make another checkpoint of the same id.
            meanwhile: see `Checkpointer.commit`.
        """
        result = self.patiently(commit_to, self.checkpointer, commit, meanwhile)
        if known is not None and result.refused is None:
            self.cache.put(commit.thread_id, known)
        if result.claim is None or not result.claim.tails:
            return result
        return replace(result, claim=_whole(result.claim, known or {}))

    def load(self, thread_id: str) -> LoadedThread | None:
        """Return the thread at its head, with values."""
        return self.patiently(self.checkpointer.load, thread_id)

    def patiently(self, ask: Callable[_P, _T], *args: _P.args, **options: _P.kwargs) -> _T:
        """Ask until there is an answer.

        Raises:
            CheckpointerUnavailableError: if `attempts_max` is over.
            ValueTooLargeError: if the link is too slow for what is asked.
        """
        attempt = slow = 0
        while True:
            try:
                return ask(*args, **options)
            except SlowTransferError as error:
                slow += 1
                _log.warning("%s (attempt %d of %d)", error, slow, limits.SLOW_TRANSFERS_MAX)
                if slow >= limits.SLOW_TRANSFERS_MAX:
                    msg = f"{error}, {slow} times in a row, so it is not sent again. {SMALLER}"
                    raise ValueTooLargeError(msg) from error
            except CheckpointerUnavailableError:
                attempt += 1
                if attempt >= self.attempts_max:
                    raise
                delay_s = min(0.05 * 2 ** min(attempt, 10), 1.0)
                self.clock.sleep(delay_s * random.uniform(0.5, 1.0))  # noqa: S311 - not a secret


def values_after(commit: Commit, blobs: Mapping[str, Encoded]) -> Mapping[str, Encoded]:
    """Return the encoded values of the checkpoint that a commit brings.

    Args:
        commit: the commit.
        blobs: the values of the checkpoint before.
    """
    assert commit.checkpoint is not None
    known: dict[str, Encoded] = {**blobs, **commit.blobs}
    for name, before in commit.tails.items():
        known[name] = Grown(known[before], commit.blobs[name])
    names = commit.checkpoint.refs
    return dict(zip(names, map(known.__getitem__, names), strict=True))


def _with_tails(claim: Claim, known: Mapping[str, Encoded]) -> tuple[Claim, Mapping[str, Encoded]]:
    """Return a claim without tails of what this process knows, and what it knows with them."""
    blobs, known = dict(claim.blobs), dict(known)
    for name, before in claim.tails.items():
        tail = blobs.pop(name)
        if isinstance(tail, Damaged):
            blobs[name] = tail
        elif before in known:
            known[name] = Grown(known[before], tail)
    return replace(claim, blobs=blobs, tails={}), known


def _whole(claim: Claim, known: Mapping[str, Encoded]) -> Claim:
    """Return a claim whose values are whole: tails are joined to what this process knows."""
    if not claim.tails:
        return claim
    blobs = dict(claim.blobs)
    for name, before in claim.tails.items():
        tail = blobs.pop(name)
        if before in known:
            blobs[name] = joined([whole(known[before]), tail])
    return replace(claim, blobs=blobs, tails={})


def _token() -> str:
    """Return a name for one attempt to claim, that no other attempt uses."""
    return os.urandom(16).hex()


def new_owner() -> str:
    """Return the name under which this process claims steps: host, pid, and a nonce.

    The nonce distinguishes a process from a later one with the same pid.
    """
    return f"{socket.gethostname()}:{os.getpid()}:{os.urandom(4).hex()}"
