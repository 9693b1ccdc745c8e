"""A list that grows is stored by what it grew by, and comes back whole. (INV-10, INV-11)"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from orchestrator.checkpoint.commit import Claim, Refusal, StepGuard, Take
from orchestrator.checkpoint.model import blob_key
from orchestrator.record import replace
from orchestrator.serde.codec import Codec
from orchestrator.testing.contract import drafts
from orchestrator.testing.contract.base import Contract
from orchestrator.testing.contract.driver import Driver

__all__ = ["GrowingContract"]

_encode = Codec().encode
_ITEMS = ["one", b"\n\n\x00\xff", {"three": [3, None]}, [], "\ud800"]


def _name(number: int, key: str = "log") -> str:
    return blob_key("", key, drafts.FIRST + number)


def _grow(driver: Driver, *parts: list[Any]) -> Claim:
    """Bring a list that is `parts[0]` and grows by each of the others; return the last claim."""
    first = drafts.checkpoint(drafts.FIRST, (_name(0),))
    driver.start("a", checkpoint=first, blobs={_name(0): _encode(parts[0])})
    for number, part in enumerate(parts[1:], 1):
        _go_on(driver, number, part)
    return driver.claimed("a")


def _go_on(
    driver: Driver, number: int, part: list[Any], before: str | None = None, **fields: Any
) -> Any:
    """Commit a checkpoint whose list goes on an earlier one."""
    name, id_ = _name(number), drafts.FIRST + number
    return driver.change(
        checkpoint=drafts.checkpoint(id_, (name,)),
        ready=drafts.plan(driver.thread_id, id_, "a"),
        blobs={name: _encode(part)},
        tails={name: before or _name(number - 1)},
        **fields,
    )


def _whole(*parts: list[Any]) -> bytes:
    return _encode([item for part in parts for item in part])


class GrowingContract(Contract):
    """Tails, and outcomes that name values."""

    def test_each_checkpoint_has_its_part_of_a_list(self, driver: Driver) -> None:
        parts = [_ITEMS[:n] for n in (2, 1, 0, 5, 3)]
        _grow(driver, *parts)
        for number in range(len(parts)):
            loaded = driver.load(drafts.FIRST + number)
            assert loaded.blobs == {_name(number): _whole(*parts[: number + 1])}
        assert driver.load().blobs == {_name(4): _whole(*parts)}

    def test_a_claim_brings_a_list_whole_to_whom_knows_nothing_of_it(self, driver: Driver) -> None:
        claim = _grow(driver, ["a"], ["b"], ["c", "d"])
        assert (claim.blobs, claim.tails) == ({_name(2): _whole(["a"], ["b"], ["c", "d"])}, {})
        assert claim.refs == (_name(2),)

    @pytest.mark.parametrize(
        ("known", "brought", "tails"),
        [
            (0, [["b"], ["c", "d"]], {_name(2): _name(0)}),
            (1, [["c", "d"]], {_name(2): _name(1)}),
            (2, None, {}),
            (9, [["a"], ["b"], ["c", "d"]], {}),  # Of another time: that name there never was.
        ],
    )
    def test_a_claim_brings_only_what_its_owner_does_not_know(
        self,
        driver: Driver,
        known: int,
        brought: list[list[Any]] | None,
        tails: Mapping[str, str],
    ) -> None:
        first = _grow(driver, ["a"], ["b"], ["c", "d"])
        assert first.step is not None
        driver.store.release("worker", died=False)
        claim = driver.claimed("a", known=("x", _name(known)))
        expected = {} if brought is None else {_name(2): _whole(*brought)}
        assert (claim.blobs, claim.tails) == (expected, tails)

    def test_any_number_of_branches_go_on_one_list(self, driver: Driver) -> None:
        _grow(driver, ["a"], ["b"], ["c"])
        _go_on(driver, 3, ["d"], before=_name(1))
        _go_on(driver, 4, ["e"], before=_name(1))
        _go_on(driver, 5, ["f"], before=_name(3))
        assert driver.load(drafts.FIRST + 2).blobs == {_name(2): _whole(["a", "b", "c"])}
        assert driver.load(drafts.FIRST + 3).blobs == {_name(3): _whole(["a", "b", "d"])}
        assert driver.load(drafts.FIRST + 4).blobs == {_name(4): _whole(["a", "b", "e"])}
        assert driver.load().blobs == {_name(5): _whole(["a", "b", "d", "f"])}
        assert driver.claimed("a", known=(_name(2),)).blobs == driver.load().blobs

    def test_a_list_begins_anew_with_a_whole_value(self, driver: Driver) -> None:
        _grow(driver, ["a"], ["b"])
        anew, id_ = {_name(2): _encode(["x"])}, drafts.FIRST + 2
        driver.advance("a", checkpoint=drafts.checkpoint(id_, tuple(anew)), blobs=anew)
        _go_on(driver, 3, ["y"])
        assert driver.load().blobs == {_name(3): _whole(["x", "y"])}
        assert driver.load(drafts.FIRST + 1).blobs == {_name(1): _whole(["a", "b"])}

    def test_a_list_of_many_tails_is_whole(self, driver: Driver) -> None:
        claim = _grow(driver, *([n] for n in range(500)))
        assert claim.blobs == {_name(499): _encode(list(range(500)))}
        assert driver.load().blobs == claim.blobs
        assert driver.load(drafts.FIRST + 250).blobs == {_name(250): _encode(list(range(251)))}

    def test_a_list_whose_beginning_is_gone_is_missing(self, driver: Driver) -> None:
        first = drafts.checkpoint(drafts.FIRST, (_name(0), "other"))
        blobs = {_name(0): _encode(["b"]), "other": b"1"}
        tails = {_name(0): "gone"}
        driver.start("a", checkpoint=first, blobs=blobs, tails=tails)
        assert driver.load().blobs == {"other": b"1"}
        claim = driver.claimed("a")
        assert claim.tails == tails  # Whoever does not know that one, neither, has no such value.

    @pytest.mark.parametrize("known", [None, 0, 1], ids=["nothing", "before", "all"])
    def test_a_commit_that_takes_the_next_step_brings_what_is_not_known(
        self, driver: Driver, known: int | None
    ) -> None:
        claim = _grow(driver, ["a"], ["b"])
        driver.complete(claim)
        names = () if known is None else (_name(known + 1),)
        result = _go_on(driver, 2, ["c"], take=Take("taker", "token", names))
        assert result.claim is not None
        brought = (result.claim.blobs, result.claim.tails)
        if known is None:
            assert brought == ({_name(2): _whole(["a", "b", "c"])}, {})
        elif known == 0:
            assert brought == ({_name(2): _encode(["c"])}, {_name(2): _name(1)})
        else:
            assert brought == ({}, {})

    # ---- outcomes and inputs ------------------------------------------------------------

    def test_an_outcome_that_holds_values_of_its_commit_comes_back_as_it_was(
        self, driver: Driver
    ) -> None:
        long, other = _encode(["x" * 300]), _encode("y" * 70_000)
        outcome = b"begins " + other + b" then " + long + b" and again " + long + b" ends"
        blobs = {_name(1): long, "other": other, "same": long, "short": b"ends"}
        claim = _grow(driver, ["w"])
        assert claim.step is not None
        checkpoint = drafts.checkpoint(drafts.FIRST + 1, tuple(blobs))
        driver.complete(
            claim,
            completed=outcome,
            checkpoint=checkpoint,
            blobs=blobs,
            tails={_name(1): _name(0)},
            ready=drafts.plan(driver.thread_id, checkpoint.id, "b"),
        )
        assert driver.load(drafts.FIRST).outcomes == {claim.step.step_id: outcome}
        assert driver.load().blobs == {**blobs, _name(1): _whole(["w"], ["x" * 300])}
        before = driver.store.load(driver.thread_id, checkpoint_id=drafts.FIRST, values=False)
        assert before is not None
        assert (before.outcomes, before.blobs) == ({claim.step.step_id: outcome}, {})

    @pytest.mark.parametrize("values", [True, False])
    def test_an_input_that_holds_values_of_the_commit_that_took_it_in_comes_back_as_it_was(
        self, driver: Driver, *, values: bool
    ) -> None:
        long, other = _encode(["x" * 300]), _encode("y" * 70_000)
        header = b"begins " + other + b" then " + long + b" ends"
        first = replace(drafts.checkpoint(drafts.FIRST, ("short",)), header=header)
        driver.start("a", checkpoint=first, blobs={"short": b"1"})
        claim = driver.claimed("a")
        blobs = {"long": long, "other": other}
        driver.complete(
            claim,
            input=replace(first, plan=b""),
            checkpoint=drafts.checkpoint(drafts.FIRST + 1, (*blobs, "short")),
            blobs=blobs,
            ready=drafts.plan(driver.thread_id, drafts.FIRST + 1, "b"),
        )
        assert driver.load().blobs == {**blobs, "short": b"1"}
        loaded = driver.store.load(driver.thread_id, checkpoint_id=drafts.FIRST, values=values)
        assert loaded is not None
        assert loaded.checkpoint == first
        assert loaded.blobs == ({"short": b"1"} if values else {})
        assert claim.step is not None
        assert list(loaded.outcomes) == [claim.step.step_id]

    def test_a_refused_commit_leaves_an_input_as_it_was(self, driver: Driver) -> None:
        long = _encode("x" * 300)
        first = replace(drafts.checkpoint(drafts.FIRST), header=b"begins " + long)
        driver.start("a", checkpoint=first)
        claim = driver.claimed("a")
        refused = driver.commit(
            guard=StepGuard(drafts.plan(driver.thread_id, drafts.FIRST, "a")[0].step_id, 99),
            completed=b"outcome",
            input=first,
            checkpoint=drafts.checkpoint(drafts.FIRST + 1, ("long",)),
            blobs={"long": long},
        )
        assert (refused.refused, claim.header) == (Refusal.STALE_FENCE, first.header)
        assert driver.load().checkpoint == first
