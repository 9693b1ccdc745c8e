"""Queries for the claims recorded for given owners."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.checkpointer.redis.keys import STEP_ID_CHARS, Deployment
from orchestrator.checkpointer.redis.scripts import available
from orchestrator.model.commit import Claim


@dataclass(frozen=True, slots=True)
class HeldClaim:
    """A claim that a server holds for an owner."""

    owner: str
    partition: int
    member: str  # The step's id and the thread's, as in the index of claims.
    fence: int = 0  # 0: not asked for yet.

    @property
    def step_id(self) -> str:
        """Return the step."""
        return self.member[:STEP_ID_CHARS]

    @property
    def thread_id(self) -> str:
        """Return the thread."""
        return self.member[STEP_ID_CHARS:]


def held_by(store: Deployment, owners: Sequence[str]) -> list[HeldClaim]:
    """Return what the index of claims has of some owners; without fences, in one round trip."""
    asked = [(owner, p) for owner in owners for p in range(store.partitions)]
    with available():
        pipe = store.client.pipeline(transaction=False)
        for owner, partition in asked:
            pipe.smembers(f"{store.keys.partition(partition)}claims:{owner}")
        answers = pipe.execute(raise_on_error=False)
    return [
        HeldClaim(owner, partition, member)
        for (owner, partition), answer in zip(asked, answers, strict=True)
        for member in _texts(answer)
    ]


def fenced(store: Deployment, claims: Iterable[HeldClaim]) -> Iterator[HeldClaim]:
    """Return those of some claims that still hold, with their fences."""
    claims = list(claims)
    with available():
        pipe = store.client.pipeline(transaction=False)
        for claim in claims:
            thread = f"{store.keys.partition(claim.partition)}t:{claim.thread_id}:"
            pipe.hmget(f"{thread}s:{claim.step_id}", "owner", "fence")
        answers: list[Any] = pipe.execute(raise_on_error=False)
    for claim, answer in zip(claims, answers, strict=True):
        if isinstance(answer, list) and answer[0] == claim.owner.encode() and _is_number(answer[1]):
            yield replace(claim, fence=int(answer[1]))


def lost(store: Deployment, owner: str, claims: Sequence[Claim]) -> list[bool]:
    """Return for each claim of an owner whether it was released; in one round trip."""
    with available():
        pipe = store.client.pipeline(transaction=False)
        for claim in claims:
            assert claim.step is not None
            _, thread = store.keys.of_thread(claim.step.thread_id)
            pipe.hmget(f"{thread}s:{claim.step.step_id}", "owner", "fence")
        answers: list[Any] = pipe.execute()
    return [
        answer != [owner.encode(), str(claim.fence).encode()]
        for claim, answer in zip(claims, answers, strict=True)
    ]


def _texts(answer: Any) -> Iterator[str]:
    """Return the members of a set. One that is damaged is left to the auditor."""
    for member in answer if isinstance(answer, set) else ():
        try:
            yield member.decode()
        except UnicodeDecodeError:
            continue


def _is_number(text: bytes | None) -> bool:
    return text is not None and text.isdigit()
