"""Small records to commit, as a graph would make them, without a graph."""

from __future__ import annotations

from typing import Any

from orchestrator.ids import step_id
from orchestrator.model.checkpoint import RunStatus
from orchestrator.model.commit import Commit, EventDraft, ReadyStep, StoredCheckpoint
from orchestrator.model.events import RunAccepted

FIRST = 1_763_000_000_000_001  # The first checkpoint of a thread: as many digits as a real one.
RUN = "run-1"
QUEUE = "steps"
ALL_BYTES = bytes(range(256)) + b"\r\n\x00$-1\r\n"


def checkpoint(checkpoint_id: int, refs: tuple[str, ...] = (), ns: str = "") -> StoredCheckpoint:
    """Return a checkpoint whose bytes hold its id."""
    header, plan_ = (
        b"header %d " % checkpoint_id + ALL_BYTES,
        b"plan %d " % checkpoint_id + ALL_BYTES,
    )
    return StoredCheckpoint(id=checkpoint_id, ns=ns, header=header, plan=plan_, refs=refs)


def ready(thread_id: str, checkpoint_id: int, node: str, **fields: Any) -> ReadyStep:
    """Return the step of `node` that a checkpoint plans."""
    index = fields.get("index", -1)
    given = {"graph": "graph", "queue": QUEUE, "number": 1, **fields}
    id_ = step_id(checkpoint_id, given.get("ns", ""), node, index)
    return ReadyStep(
        thread_id=thread_id, step_id=id_, checkpoint_id=checkpoint_id, node=node, **given
    )


def plan(
    thread_id: str, checkpoint_id: int, *nodes: str, queue: str = QUEUE
) -> tuple[ReadyStep, ...]:
    """Return one step for each node."""
    solo = len(nodes) == 1
    return tuple(ready(thread_id, checkpoint_id, n, queue=queue, solo=solo) for n in nodes)


def starting(thread_id: str, *nodes: str, queue: str = QUEUE, **fields: Any) -> Commit:
    """Return the commit that accepts a run on a new thread, with one step for each node."""
    head = {"graph": "graph", "fingerprint": "print", "run_id": RUN, "stop": 25}
    given = {
        "expect_new": True,
        "checkpoint": checkpoint(FIRST),
        "ready": plan(thread_id, FIRST, *nodes, queue=queue),
        "status": RunStatus.QUEUED,
        "head": head,
        "events": (EventDraft(RunAccepted.type, {"run": RUN}),),
        **fields,
    }
    return Commit(thread_id=thread_id, **given)
