"""What a process knows of a thread's values, and what it is brought."""

from __future__ import annotations

import pytest

from orchestrator import MemoryCheckpointer
from orchestrator.envelope.damage import Damaged
from orchestrator.model.checkpoint import blob_key
from orchestrator.model.commit import Claim, Commit, Refusal, StepGuard
from orchestrator.model.tails import Encoded, whole
from orchestrator.serde.codec import Codec
from orchestrator.step.access import Access, values_after
from orchestrator.testing.contract import drafts

encode = Codec().encode
NAMES = [blob_key("", "log", drafts.FIRST + n) for n in range(9)]


class Turns:
    """Processes that do the steps of one thread by turns; each step adds its number to a list."""

    def __init__(self) -> None:
        self.store, self.number = MemoryCheckpointer(), 0
        stored = drafts.checkpoint(drafts.FIRST, (NAMES[0],))
        begin = drafts.starting("t", "a", checkpoint=stored, blobs={NAMES[0]: encode([0])})
        self.store.commit(begin)

    def process(self, name: str) -> Access:
        return Access(self.store, name)

    def claimed(self, access: Access) -> tuple[Claim, dict[str, Encoded]]:
        """Claim the step there is; return the claim, and all values that are there then."""
        [step] = drafts.plan("t", drafts.FIRST + self.number, "a")
        claim, known = access.claim("t", step.step_id)
        return claim, {**known, **claim.blobs}

    def done(self, claim: Claim, number: int, item: int | None = None) -> Commit:
        """Return what completes a claimed step and adds an item to the list."""
        id_, name = drafts.FIRST + number, NAMES[number]
        assert claim.step is not None
        return Commit(
            thread_id="t",
            guard=StepGuard(claim.step.step_id, claim.fence),
            completed=b"done",
            checkpoint=drafts.checkpoint(id_, (name,)),
            ready=drafts.plan("t", id_, "a"),
            blobs={name: encode([number if item is None else item])},
            tails={name: NAMES[number - 1]},
        )

    def turn(self, access: Access) -> Claim:
        claim, blobs = self.claimed(access)
        assert whole(blobs[NAMES[self.number]]) == encode(list(range(self.number + 1)))
        self.number += 1
        commit = self.done(claim, self.number)
        assert access.commit(commit, values_after(commit, blobs)).refused is None
        return claim


def test_whoever_knows_a_beginning_gets_the_rest_and_has_the_whole_list() -> None:
    turns = Turns()
    one, two = turns.process("one"), turns.process("two")
    for access in (one, one, two, two, one, two):
        turns.turn(access)
    claim, blobs = turns.claimed(one)
    assert (claim.blobs, claim.tails) == ({}, {})
    assert whole(blobs[NAMES[6]]) == encode(list(range(7)))
    assert len(blobs[NAMES[6]]) < 30


def test_a_tail_that_is_damaged_fails_whoever_claims() -> None:
    turns = Turns()
    one = turns.process("one")
    turns.turn(one)
    turns.turn(turns.process("two"))
    turns.store._threads["t"].blobs[NAMES[2]] = b"\x02garbage"
    claim, _ = turns.claimed(one)
    assert isinstance(claim.blobs[NAMES[2]], Damaged)


def test_whoever_knows_nothing_gets_the_whole_list() -> None:
    turns = Turns()
    for number in range(3):
        turns.turn(turns.process(f"{number}"))


def test_what_is_not_known_any_more_is_missing_not_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = Turns()
    access = turns.process("one")
    turns.turn(access)
    turns.turn(turns.process("two"))
    known = access.cache.get("t")
    monkeypatch.setattr(access.cache, "get", lambda _: dict.fromkeys(known, Damaged(b"is damaged")))
    claim, blobs = turns.claimed(access)
    assert claim.tails == {}
    assert whole(blobs[NAMES[2]]) == Damaged(b"is damaged")


def test_what_was_not_committed_is_not_known() -> None:
    turns = Turns()
    one, two = turns.process("one"), turns.process("two")
    turns.turn(one)
    late, blobs = turns.claimed(one)
    turns.store.release("one")
    claim, others = turns.claimed(two)
    turns.number += 1  # Both make a checkpoint of the same id, with another value of one name.
    made, refused = turns.done(claim, 2), turns.done(late, 2, item=77)
    assert two.commit(made, values_after(made, others)).refused is None
    assert one.commit(refused, values_after(refused, blobs)).refused is Refusal.STALE_FENCE
    _, found = turns.claimed(one)
    assert whole(found[NAMES[2]]) == encode([0, 1, 2])


def test_a_commit_that_takes_the_next_step_has_the_whole_list() -> None:
    turns = Turns()
    one, two = turns.process("one"), turns.process("two")
    turns.turn(one)
    turns.turn(two)
    claim, blobs = turns.claimed(one)
    commit = turns.done(claim, 3)
    known = values_after(commit, blobs)
    assert claim.head is not None
    taken = one.commit(one.taking(commit, claim.head, known), known).claim
    assert taken is not None
    found = {**one.known("t"), **taken.blobs}[NAMES[3]]
    assert (whole(found), taken.tails) == (encode([0, 1, 2, 3]), {})
