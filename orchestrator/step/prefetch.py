"""The next attempt, made while the commit that claims its step is on its way to the store.

A third of a step in place is the wait for its commit. All that the next attempt needs is known by
then, but for the claim itself: so it is decoded and assembled meanwhile. No code of users runs
before the commit is made, and a prefetch for a commit that was refused is dropped. (INV-2)
"""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.frozen import replace
from orchestrator.model.checkpoint import Checkpoint, Head
from orchestrator.model.commit import Claim, Commit
from orchestrator.model.tails import Encoded
from orchestrator.step.attempt import Attempt
from orchestrator.step.services import StepServices

__all__ = ["Prefetch"]


class Prefetch:
    """The attempt that follows a commit, as far as it is known before its claim."""

    def __init__(
        self,
        services: StepServices,
        commit: Commit,
        head: Head,
        known: Mapping[str, Encoded],
        checkpoint: Checkpoint,
    ) -> None:
        """Keep what is known before the commit is made.

        Args:
            services: of the graph whose steps these are.
            commit: claims the step.
            head: of the thread, as it was before.
            known: the values of the checkpoint of the commit.
            checkpoint: that checkpoint.
        """
        self.known = known
        self._services, self._commit, self._head = services, commit, head
        self._made = _as_decoded(checkpoint, services, commit)
        self._attempt: Attempt | None = None

    def prepare(self) -> None:
        """Assemble the attempt; an error is raised when the attempt is made again."""
        step, checkpoint, services = self._commit.takes, self._commit.checkpoint, self._services
        if step is None or checkpoint is None or services.spec.untracked:
            return  # Values that are not stored become known after the commit.
        expected = Claim(step=step, head=self._head, header=checkpoint.header)
        try:
            self._attempt = Attempt(services, expected, self.known, self._made)
        except Exception:  # noqa: BLE001 - it is made again, where its error is the step's
            self._attempt = None

    def attempt(self, claim: Claim) -> Attempt | None:
        """Return the attempt under a claim, if it was prepared and the claim is as expected."""
        prepared = self._attempt
        if prepared is None or not prepared.expected(claim):
            return None
        prepared.begin(claim)
        return prepared

    def checkpoint(self, claim: Claim) -> Checkpoint | None:
        """Return the checkpoint that planned a claimed step, if it need not be decoded."""
        stored = self._commit.checkpoint
        return self._made if stored is not None and claim.header == stored.header else None


def _as_decoded(
    checkpoint: Checkpoint, services: StepServices, commit: Commit
) -> Checkpoint | None:
    """Return a new checkpoint as its stored header reads; `None`: it must be decoded for that.

    What it holds for users, such as an input, is decoded anew for each attempt.
    """
    if services.spec.untracked or checkpoint.tails or commit.tails:
        return None
    for value in checkpoint.control.values():
        if value is not None:
            return None
    return replace(checkpoint, plan=())
