"""Lists that grow on several branches of several threads, as checkpoints bring them."""

from __future__ import annotations

from orchestrator.model.checkpoint import blob_key
from orchestrator.model.commit import ReadyStep
from orchestrator.serde.codec import Codec

__all__ = ["GrowingLists"]

_encode = Codec().encode


class GrowingLists:
    """The names of all lists that were ever to be stored, whether they were or not."""

    def __init__(self) -> None:
        self._names: dict[str, list[str]] = {}

    def grow(self, thread_id: str, checkpoint_id: int) -> tuple[str, bytes, dict[str, str]]:
        """Return a new list, and what it goes on: mostly the newest, or an older one, or none."""
        name, known = blob_key("", "log", checkpoint_id), self._names.setdefault(thread_id, [])
        earlier, pick = [each for each in known if each != name], len(known) * 7 % 11
        known.append(name)
        before = earlier[-1 - pick % 3 % len(earlier)] if earlier and pick else ""
        value = _encode([checkpoint_id, "x" * 300])
        return name, value, {name: before} if before else {}

    def known(self, step: ReadyStep, pick: int) -> tuple[str, ...]:
        """Return names that somebody knows: of a value, an argument, and a list some time ago."""
        older = self._names[step.thread_id][-1 - pick % 4 :][:1]
        return (f"blob-{step.checkpoint_id}", step.arg, *older)
