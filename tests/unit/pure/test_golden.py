"""What earlier layouts of records look like is kept, byte by byte, and read for ever.

When a record changes, its layout gets the next number, an upgrade in `records.py` leads to it, and
`python -m tests.unit.pure.test_golden` adds its bytes. A line that is there is never changed.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.channels import Overwrite
from orchestrator.engine.records import Records
from orchestrator.envelope.seal import seal, unseal
from orchestrator.graph.routing import Send
from orchestrator.model.checkpoint import Checkpoint, Interrupt, Outcome, PlannedStep, StepError
from orchestrator.serde.codec import Codec

FILE = Path(__file__).with_name("golden.json")
CODEC = Codec()
RECORDS = Records(CODEC.encode, CODEC.decode)

CHECKPOINT = Checkpoint(
    id=1_763_000_000_000_002,
    ns="inner:0",
    parent=1_763_000_000_000_001,
    step=3,
    source="loop",
    created_ms=1_763_000_000_000,
    versions={"log": 1_763_000_000_000_001, "branch:to:a": 1_763_000_000_000_002},
    control={"branch:to:a": None, "join:a|b:c": ["a"]},
    seen={"a": {"branch:to:a": 1_763_000_000_000_001}},
    writers=("a", "b"),
    sends=1,
    sends_version=1_763_000_000_000_002,
    metadata={"who": "we"},
    plan=(PlannedStep("a", -1, ("branch:to:a",)), PlannedStep("b", 0)),
    state_version=1,
    tails={"log": 3},
)
OUTCOME = Outcome(
    writes=(("log", ["x"]), ("log", Overwrite([1, 2.5, None])), ("__sends__", Send("b", {"n": 1}))),
    attempt=2,
    fence=7,
    worker="host:1:abc",
    claimed_ms=1_763_000_000_000,
    interrupts=(Interrupt("sure?", "id-1", "key", {"type": "string"}),),
    error=b"record",
)
INTERRUPT = Interrupt({"ask": "sure?"}, "id-2", None, None)
ERROR = StepError(type="ValueError", module="builtins", message="no", traceback="T", node="a")


def written() -> dict[str, bytes]:
    """Return records as this version writes them, by kind."""
    stored = RECORDS.store_checkpoint(CHECKPOINT)
    return {
        "checkpoint": stored.header,
        "plan": stored.plan,
        "outcome": RECORDS.store_outcome(OUTCOME),
        "interrupt": RECORDS.store_interrupt(INTERRUPT),
        "error": RECORDS.store_error(ERROR),
    }


def layout_of(record: bytes) -> int:
    return CODEC.decode(record)[0]


def read(kind: str, record: bytes) -> Any:
    """Return a record of any layout, as this version understands it."""
    match kind:
        case "checkpoint":
            return RECORDS.checkpoint(record, bytes.fromhex(GOLDEN["plan 1"]))
        case "plan":
            newest = written()["checkpoint"]
            return RECORDS.checkpoint(newest, record)
        case "outcome":
            return RECORDS.outcome(record)
        case "interrupt":
            return RECORDS.interrupt(record)
    return RECORDS.error(record)


EXPECTED = {
    "checkpoint": CHECKPOINT,
    "plan": CHECKPOINT,
    "interrupt": INTERRUPT,
    "error": ERROR,
}
GOLDEN: dict[str, str] = json.loads(FILE.read_text("utf-8")) if FILE.exists() else {}


@pytest.mark.parametrize("name", [name for name in GOLDEN if not name.startswith("seal")])
def test_every_layout_there_ever_was_is_read(name: str) -> None:
    kind, _, layout = name.partition(" ")
    record = bytes.fromhex(GOLDEN[name])
    assert layout_of(record) == int(layout)
    found = read(kind, record)
    if kind == "outcome":
        assert (found.attempt, found.fence, found.worker) == (2, 7, "host:1:abc")
        assert found.writes[0] == ("log", ["x"])
        assert found.interrupts == OUTCOME.interrupts
        assert found.error == (b"record" if int(layout) > 1 else b"")
    elif kind == "checkpoint" and int(layout) < 3:
        assert found == replace(CHECKPOINT, tails={})
    else:
        assert found == EXPECTED[kind]


@pytest.mark.parametrize("kind", written())
def test_what_is_written_now_is_the_newest_layout_as_it_is_kept(kind: str) -> None:
    record = written()[kind]
    assert GOLDEN[f"{kind} {layout_of(record)}"] == record.hex()


def test_a_seal_of_the_first_layout_is_understood() -> None:
    assert unseal("thread\x1fvalue\x1flog", bytes.fromhex(GOLDEN["seal 1"])) == b"record"


if __name__ == "__main__":
    for kind_, record_ in written().items():
        GOLDEN.setdefault(f"{kind_} {layout_of(record_)}", record_.hex())
    GOLDEN.setdefault("seal 1", seal("thread\x1fvalue\x1flog", b"record").hex())
    FILE.write_text(json.dumps(GOLDEN, indent=1, sort_keys=True) + "\n", "utf-8")
