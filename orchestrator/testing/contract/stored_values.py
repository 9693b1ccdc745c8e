"""A load returns what was committed, byte for byte, also of growing lists. (INV-10, INV-11)"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from orchestrator.frozen import replace
from orchestrator.model.checkpoint import RunStatus, blob_key, send_key
from orchestrator.model.commit import Claim, Refusal, StepGuard, StepUpdate, Take, Wait
from orchestrator.serde.codec import Codec
from orchestrator.testing.contract import drafts
from orchestrator.testing.contract.base import Contract
from orchestrator.testing.contract.driver import Driver

# ---- values ---------------------------------------------------------------------------------
# A load returns every field of a commit, byte for byte. (INV-10)

_MEGABYTE = 2**20

NAMES = (
    *(
        "plain",
        "two words",
        "a:b",
        "{brace}",
        "100%",
        "%s",
        "*",
        "?",
        "[a-z]",
        "\\",
        "'\"",
        "ünï→🜂",
    ),
    *(
        "tab\there",
        "new\nline",
        "unit\x1fseparator",
        "record\x1eseparator",
        "nul\x00",
        "$-1\r\n",
        "0",
    ),
)


class StoringContract(Contract):
    """Effects that are bytes and names."""

    def test_every_byte_survives_everywhere(self, driver: Driver) -> None:
        data, (head, other) = (
            drafts.ALL_BYTES,
            drafts.plan(driver.thread_id, drafts.FIRST, "a", "b"),
        )
        refs = ("blob",)
        driver.start(
            ready=(head, other),
            checkpoint=drafts.checkpoint(drafts.FIRST, refs),
            blobs={"blob": data},
            head={"config": data, "error": data},
        )
        claim = driver.claimed("a")
        driver.update(claim, wait=Wait.ANSWER, asks={"q": data}, error=data)
        driver.complete(driver.claimed("b"), completed=data)
        loaded = driver.load()
        assert loaded.checkpoint == drafts.checkpoint(drafts.FIRST, refs)
        assert loaded.blobs == {"blob": data}
        assert (loaded.head.config, loaded.head.error) == (data, data)
        assert loaded.outcomes == {other.step_id: data}
        assert (driver.step("a").asks, driver.step("a").error) == ({"q": data}, data)

    def test_a_big_value_is_a_value(self, driver: Driver) -> None:
        big = bytes(range(256)) * (_MEGABYTE // 256)
        stored = replace(drafts.checkpoint(drafts.FIRST, ("big", "small")), header=big, plan=big)
        driver.start("a", checkpoint=stored, blobs={"big": big, "small": b"s"})
        claim = driver.claimed("a")
        assert claim.blobs == {"big": big, "small": b"s"}
        driver.complete(claim, completed=big)
        loaded = driver.load()
        assert (loaded.checkpoint.header, loaded.checkpoint.plan) == (big, big)
        assert (loaded.blobs["big"], list(loaded.outcomes.values())) == (big, [big])

    def test_many_small_values_are_stored(self, driver: Driver) -> None:
        names = tuple(f"blob-{n}" for n in range(3000))
        blobs = {name: name.encode() for name in names}
        driver.start("a", checkpoint=drafts.checkpoint(drafts.FIRST, names), blobs=blobs)
        assert driver.load().blobs == blobs
        assert driver.load().checkpoint.refs == names
        assert driver.claimed("a").blobs == blobs

    def test_a_wide_plan_is_stored(self, driver: Driver) -> None:
        steps = tuple(
            drafts.ready(driver.thread_id, drafts.FIRST, "n", index=i) for i in range(2000)
        )
        driver.start(ready=steps)
        assert {s.step for s in driver.load().steps.values()} == set(steps)
        assert driver.load().head.open == 2000
        driver.advance("next")
        assert (len(driver.load().steps), driver.load().head.open) == (1, 1)

    def test_nothing_is_something(self, driver: Driver) -> None:
        stored = replace(drafts.checkpoint(drafts.FIRST, ("empty",)), header=b"", plan=b"")
        driver.start("a", "b", checkpoint=stored, blobs={"empty": b""}, head={"run_id": ""})
        claim = driver.claimed("a")
        assert (claim.header, claim.refs, claim.blobs) == (b"", ("empty",), {"empty": b""})
        assert driver.complete(claim, completed=b"").open == 1
        assert driver.load().outcomes == {driver.step("a").step.step_id: b""}
        driver.update(driver.claimed("b"), wait=Wait.ANSWER, asks={"q": b""}, error=b"")
        assert driver.step("b").asks == {"q": b""}

    # ---- names --------------------------------------------------------------------------

    def test_blobs_of_any_name_are_kept_apart(self, driver: Driver) -> None:
        names = tuple(blob_key("", n, drafts.FIRST) for n in NAMES if "\n" not in n)
        blobs = {name: b"value of " + name.encode() for name in names}
        driver.start("a", checkpoint=drafts.checkpoint(drafts.FIRST, names), blobs=blobs)
        assert driver.load().checkpoint.refs == names
        assert driver.load().blobs == blobs
        claim = driver.claimed("a", known=names[::2])
        assert (claim.refs, set(claim.blobs)) == (names, set(names[1::2]))

    def test_a_step_of_any_name_is_kept_as_it_is(self, driver: Driver) -> None:
        arg = send_key("", drafts.FIRST, 3)
        steps = tuple(
            drafts.ready(
                *(driver.thread_id, drafts.FIRST, name),
                graph=f"graph {name}",
                queue=f"queue {name}",
                triggers=NAMES,
                index=3,
                number=2**40,
                arg=arg,
            )
            for name in NAMES
        )
        driver.start(ready=steps, blobs={arg: b"argument"})
        assert {s.step for s in driver.load().steps.values()} == set(steps)
        assert [driver.claimed(step).step for step in steps] == list(steps)

    def test_a_namespace_is_kept(self, driver: Driver) -> None:
        stored = drafts.checkpoint(drafts.FIRST, ns="outer|inner:1")
        step = drafts.ready(driver.thread_id, drafts.FIRST, "a", ns="outer|inner:1")
        driver.start(checkpoint=stored, ready=(step,))
        assert driver.load().checkpoint.ns == "outer|inner:1"
        assert driver.step("a").step == step

    @pytest.mark.parametrize("text", [*NAMES, "", "a lone \udcff surrogate"], ids=ascii)
    def test_any_text_is_a_reason(self, driver: Driver, text: str) -> None:
        driver.start("a")
        driver.update(driver.claimed("a"), wait=Wait.PERSON, reason=text)
        assert driver.step("a").reason == text

    # ---- the head -----------------------------------------------------------------------

    def test_every_field_of_the_head_is_kept(self, driver: Driver) -> None:
        fields = {
            "graph": "g{1}",
            "fingerprint": "f p",
            "run_id": "r:2",
            "config": drafts.ALL_BYTES,
            "stop": 2**40,
            "breaks_seen": drafts.FIRST + 7,
            "resumes": 3,
            "local": 1,
            "owner": "w:{1}:ä b",
            "error": drafts.ALL_BYTES,
        }
        driver.start("a")
        driver.change(head=fields)
        head = driver.load().head
        assert {name: getattr(head, name) for name in fields} == fields

    def test_a_field_that_is_not_named_keeps_its_value(self, driver: Driver) -> None:
        driver.start("a", head={"config": b"c", "stop": 7, "run_id": "r", "error": b"e"})
        before = driver.load().head
        driver.change(head={"resumes": 1})
        after = driver.load().head
        assert replace(after, resumes=0, updated_ms=before.updated_ms) == before

    @pytest.mark.parametrize("status", RunStatus, ids=str)
    def test_a_status_is_kept_until_the_next(self, driver: Driver, status: RunStatus) -> None:
        driver.start("a")
        driver.change(status=status)
        driver.change(head={"resumes": 1})
        assert driver.load().head.status is status

    def test_a_commit_dates_the_thread_in_the_stores_time(self, driver: Driver) -> None:
        created = driver.start("a").now_ms
        driver.tick(0.01)
        changed = driver.change(head={"resumes": 1}).now_ms
        head = driver.load().head
        assert (head.created_ms, head.updated_ms) == (created, changed)
        assert changed >= created + 10

    # ---- checkpoints --------------------------------------------------------------------

    def test_values_are_shared_by_checkpoints_that_refer_to_them(self, driver: Driver) -> None:
        driver.start(
            "a",
            checkpoint=drafts.checkpoint(drafts.FIRST, ("x", "y")),
            blobs={"x": b"1", "y": b"1"},
        )
        second = drafts.checkpoint(drafts.FIRST + 1, ("x", "y2"))
        driver.advance("b", checkpoint=second, blobs={"y2": b"2"})
        assert driver.load().blobs == {"x": b"1", "y2": b"2"}
        assert driver.load(drafts.FIRST).blobs == {"x": b"1", "y": b"1"}

    def test_outcomes_stay_with_the_checkpoint_that_planned_them(self, driver: Driver) -> None:
        driver.start("a", "b")
        ids = {node: driver.step(node).step.step_id for node in ("a", "b")}
        driver.finish("a", "b")
        driver.advance("a")
        driver.finish("a")
        assert driver.load(drafts.FIRST).outcomes == {
            ids["a"]: b"outcome of a",
            ids["b"]: b"outcome of b",
        }
        assert list(driver.load().outcomes) == [driver.step("a").step.step_id]

    def test_blobs_come_only_with_values(self, driver: Driver) -> None:
        driver.start("a", checkpoint=drafts.checkpoint(drafts.FIRST, ("x",)), blobs={"x": b"1"})
        loaded = driver.store.load(driver.thread_id, values=False)
        assert loaded is not None
        assert (loaded.blobs, loaded.checkpoint.refs) == ({}, ("x",))

    def test_the_arguments_of_sends_come_with_the_head(self, driver: Driver) -> None:
        step = drafts.ready(driver.thread_id, drafts.FIRST, "a", index=0, arg="argument")
        driver.start(ready=(step,), blobs={"argument": drafts.ALL_BYTES})
        assert driver.load().blobs == {"argument": drafts.ALL_BYTES}

    def test_updates_of_several_steps_are_one_commit(self, driver: Driver) -> None:
        driver.start("a", "b", "c")
        waits = {"a": Wait.TIMER, "b": Wait.ANSWER, "c": Wait.PERSON}
        driver.change(
            updates=tuple(
                StepUpdate(step=driver.step(node).step, wait=wait, reason=f"why {node}", delay_ms=9)
                for node, wait in waits.items()
            )
        )
        assert {node: driver.step(node).wait for node in waits} == waits
        assert driver.step("c").reason == "why c"
        assert driver.load().head.open == 1


# ---- growing lists --------------------------------------------------------------------------
# A growing list is stored as its appended items, and is loaded whole. (INV-10, INV-11)

_encode = Codec().encode
_ITEMS = ["one", b"\n\n\x00\xff", {"three": [3, None]}, [], "\ud800"]


def _name(number: int, key: str = "log") -> str:
    return blob_key("", key, drafts.FIRST + number)


def _grow(driver: Driver, *parts: list[Any]) -> Claim:
    """Commit the list `parts[0]`, then append each of the others; return the last claim."""
    first = drafts.checkpoint(drafts.FIRST, (_name(0),))
    driver.start("a", checkpoint=first, blobs={_name(0): _encode(parts[0])})
    for number, part in enumerate(parts[1:], 1):
        _continued(driver, number, part)
    return driver.claimed("a")


def _continued(
    driver: Driver, number: int, part: list[Any], before: str | None = None, **fields: Any
) -> Any:
    """Commit a checkpoint whose list continues an earlier one."""
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

    def test_any_number_of_branches_continue_one_list(self, driver: Driver) -> None:
        _grow(driver, ["a"], ["b"], ["c"])
        _continued(driver, 3, ["d"], before=_name(1))
        _continued(driver, 4, ["e"], before=_name(1))
        _continued(driver, 5, ["f"], before=_name(3))
        assert driver.load(drafts.FIRST + 2).blobs == {_name(2): _whole(["a", "b", "c"])}
        assert driver.load(drafts.FIRST + 3).blobs == {_name(3): _whole(["a", "b", "d"])}
        assert driver.load(drafts.FIRST + 4).blobs == {_name(4): _whole(["a", "b", "e"])}
        assert driver.load().blobs == {_name(5): _whole(["a", "b", "d", "f"])}
        assert driver.claimed("a", known=(_name(2),)).blobs == driver.load().blobs

    def test_a_list_begins_anew_with_a_whole_value(self, driver: Driver) -> None:
        _grow(driver, ["a"], ["b"])
        anew, id_ = {_name(2): _encode(["x"])}, drafts.FIRST + 2
        driver.advance("a", checkpoint=drafts.checkpoint(id_, tuple(anew)), blobs=anew)
        _continued(driver, 3, ["y"])
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
        assert claim.tails == tails  # A process that lacks that one, too, has no such value.

    @pytest.mark.parametrize("known", [None, 0, 1], ids=["nothing", "before", "all"])
    def test_a_commit_that_takes_the_next_step_brings_what_is_not_known(
        self, driver: Driver, known: int | None
    ) -> None:
        claim = _grow(driver, ["a"], ["b"])
        driver.complete(claim)
        names = () if known is None else (_name(known + 1),)
        result = _continued(driver, 2, ["c"], take=Take("taker", "token", names))
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
