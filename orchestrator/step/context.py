"""What a node may know about the step it runs in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.ids import short_hash

__all__ = ["StepContext"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepContext:
    """Passed to nodes that have a parameter named `ctx`.

    Attributes:
        thread_id: the thread.
        run_id: the run.
        node: the node's own name.
        step_id: the step; the same over all attempts, unique within its thread.
        number: the superstep the step belongs to.
        attempt: how many attempts there were with this one; failures and worker deaths count.
        worker: the process that runs it.
        config: what the run was started with.
    """

    thread_id: str
    run_id: str
    node: str
    step_id: str
    number: int
    attempt: int
    worker: str
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def idempotency_key(self) -> str:
        """Return a key for effects outside: stable over attempts, unique to the step. (INV-5)"""
        return short_hash(self.thread_id, self.step_id)
