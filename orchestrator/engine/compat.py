"""Whether a graph may continue a thread that a graph of another structure has begun. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from orchestrator.graph.spec import GraphSpec
from orchestrator.model.checkpoint import Checkpoint, Head


def mismatch(spec: GraphSpec, head: Head, checkpoint: Checkpoint, nodes: Iterable[str]) -> str:
    """Return why a graph may not run steps of a thread, and what to do; empty: it may.

    It may if its structure is that of the thread, or if it says that it succeeds it, by a greater
    `state_version`, and has the nodes that are to run.

    Args:
        spec: the graph.
        head: the thread's.
        checkpoint: the thread's latest, in the names of the graph.
        nodes: the nodes that are to run, in the names of the graph.
    """
    same = head.fingerprint in {"", spec.fingerprint}
    succeeds = spec.lineage.succeeds(checkpoint.state_version)
    gone = [node for node in nodes if node not in spec.nodes]
    if not same and not succeeds:
        theirs, ours = checkpoint.state_version, spec.lineage.version
        remedy = (
            "Run it by a process that has the graph as it was, or say that this graph succeeds it: "
            f"state_version={(theirs or ours) + 1}"
        )
        if theirs is not None and theirs > ours:
            remedy = f"Run it by a process that has version {theirs} of the graph"
        return (
            f"the graph {spec.name!r} has another structure than the thread's "
            f"({spec.fingerprint[:8]}, not {head.fingerprint[:8]}). {remedy}"
        )
    if gone:
        named = ", ".join(map(repr, gone))
        return (
            f"the thread waits to run {named}, which the graph {spec.name!r} does not have. Say "
            f"what it is called now, builder.rename({gone[0]!r}, '…'), or plan anew with "
            f"update_state(…, as_node=…)"
        )
    return ""


def control_written(writes: Iterable[tuple[tuple[str, object], ...]]) -> Iterator[str]:
    """Return the channels by which completed steps lead to others."""
    for one in writes:
        yield from (key for key, _ in one if key.startswith(("branch:to:", "join:")))
