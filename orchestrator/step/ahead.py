"""The next attempt, made while the commit that takes its step is on its way to the store.

A third of a step in place is the wait for its commit. What the next attempt needs is known by then,
but for the claim itself: so it is decoded and put together meanwhile. No code of users runs before
the commit is made, and what was prepared for a commit that was refused is dropped. (INV-2)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from orchestrator.checkpoint.commit import Claim, Commit
from orchestrator.checkpoint.model import Head
from orchestrator.checkpoint.tails import Encoded
from orchestrator.step.attempt import Attempt

if TYPE_CHECKING:
    from orchestrator.step.protocol import StepProtocol

__all__ = ["Ahead"]


class Ahead:
    """What is known of the attempt that follows a commit."""

    def __init__(
        self, protocol: StepProtocol, commit: Commit, head: Head, known: Mapping[str, Encoded]
    ) -> None:
        """Know what there is before the commit is made.

        Args:
            protocol: does the steps of the graph.
            commit: what takes the step.
            head: of the thread, as it was before.
            known: the values of the checkpoint that the commit brings.
        """
        self.known = known
        self._protocol, self._commit, self._head = protocol, commit, head
        self._attempt: Attempt | None = None

    def prepare(self) -> None:
        """Put the attempt together; whatever is wrong shows when it is made for real."""
        step, checkpoint, protocol = self._commit.takes, self._commit.checkpoint, self._protocol
        if step is None or checkpoint is None or protocol.spec.untracked:
            return  # Values that are not stored become known after the commit.
        expected = Claim(step=step, head=self._head, header=checkpoint.header)
        try:
            self._attempt = Attempt(protocol, expected, self.known)
        except Exception:  # noqa: BLE001 - it is made again, where its error is the step's
            self._attempt = None

    def attempt(self, claim: Claim) -> Attempt | None:
        """Return the attempt under a claim, if it was prepared and the claim is as expected."""
        made = self._attempt
        if made is None or not made.expected(claim):
            return None
        made.begin(claim)
        return made
