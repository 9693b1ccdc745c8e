"""Taking away what the server holds for processes that do not work on it.

A server that crashes may lose a commit and keep the claim before it; a call may arrive when its
sender has long given the step up. Then the server holds a claim of a process that lives, is
renewed, and has forgotten it: nobody else would ever do the step. See `busy.py` for what processes
say of themselves, and decision 0025.

Rule 1: first the server is asked, then the files are read. In the other order a step that begins
        in between would be taken for one that is not done.
Rule 2: only a claim that is found so at two looks in a row, under the same fence, is taken away,
        and only if it still has that fence then.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.checkpointer.redis.claims import HeldClaim, fenced, held_by
from orchestrator.checkpointer.redis.store import RedisCheckpointer
from orchestrator.dispatch.broker import Dispatch
from orchestrator.errors import CheckpointerUnavailableError, StateCorruptedError
from workers.busy import busy_file, sign_of, signs_in

__all__ = ["Voucher"]

_LOOK_S = 1.0

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Voucher:
    """Looks whether the processes that register in a folder work on what they have claimed."""

    folder: Path
    store: RedisCheckpointer
    dispatch: Dispatch
    doubted: frozenset[HeldClaim] = frozenset()  # At the latest look.
    _files: dict[str, Path] = field(default_factory=dict)  # Owner → what it is busy with.

    def once(self) -> int:
        """Look once; return how many claims were taken away."""
        self._files = dict(self._processes())
        found = self._unfounded(held_by(self.store, list(self._files)))
        # A step that was over just now has no claim any more; what is left has its fence.
        now = frozenset(self._unfounded(fenced(self.store, found)) if found else ())
        again, self.doubted = now & self.doubted, now
        return sum(map(self._take, again))

    def _processes(self) -> Iterable[tuple[str, Path]]:
        for path in self.folder.iterdir():
            if path.name.isdigit():
                with contextlib.suppress(FileNotFoundError):  # It died just now.
                    yield path.read_text("utf-8"), busy_file(self.folder, int(path.name))

    def _unfounded(self, claims: Iterable[HeldClaim]) -> list[HeldClaim]:
        """Return the claims whose owners say that they are not busy with their threads."""
        claims = list(claims)  # The server has answered before a file is read.
        said = {owner: signs_in(self._files[owner]) for owner in {one.owner for one in claims}}
        return [
            claim
            for claim in claims
            if (signs := said[claim.owner]) is not None and sign_of(claim.thread_id) not in signs
        ]

    def _take(self, claim: HeldClaim) -> int:
        try:
            count, steps = self.store.release_forgotten(claim)
        except StateCorruptedError as error:  # The auditor's business; others are not kept waiting.
            _log.error("%s", error)
            return 0
        if count:
            what = f"{claim.thread_id!r}, step {claim.step_id}"
            _log.warning("%s has forgotten its claim of %s: taken away", claim.owner, what)
        if steps:
            self.dispatch(steps)
        return count

    def loop(self, stop: threading.Event) -> None:
        """Look until told to stop."""
        while not stop.wait(_LOOK_S):
            with contextlib.suppress(CheckpointerUnavailableError):
                self.once()
