"""Deletion of threads, or of the history of a thread, in pieces of a bounded size."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import redis

from orchestrator.checkpointer.redis.keys import STEP_ID_CHARS, Keys
from orchestrator.checkpointer.redis.scripts import Scripts, available
from orchestrator.ids import CHILD, child_thread
from orchestrator.model.checkpoint import RunStatus
from orchestrator.model.commit import Refusal

# What one call of a script deletes at most; each takes a few milliseconds.
_STEPS_MAX = 2_000
_CHILDREN_MAX = 200
_CHECKPOINTS_MAX = 200
_VALUES_MAX = 500
_SCAN_COUNT = 1_000
_HAS_CHILDREN = b"2"  # What the head has in `kin` once a child thread was listed.
_INDEXES = ("threads", "stuck", "waiting")
# What may be left of a thread or of a child thread, after the id of the thread; and of a step.
_LEFT = re.compile(
    rf"((?:{CHILD}.*)?):(?:s:([0-9a-f]{{{STEP_ID_CHARS}}})|"
    r"head|data|ids|done|later|keys|line|begins|ev|ev:packed|children|gone)(?::aside)?",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Deletion:
    """Deletes threads of one checkpointer."""

    client: redis.Redis
    scripts: Scripts
    keys: Keys

    def children(self, thread_id: str) -> list[str]:
        """Return the ids of a thread's child threads; see `Checkpointer.children`."""
        self.scripts.check()
        _, own = self.keys.of_thread(thread_id)
        with available():
            found: Any = self.client.smembers(own + "children")
            listed: Any = self.client.hget(own + "head", "kin")
            names = {child_thread(thread_id, ns.decode()) for ns in found}
            if not listed or (listed == _HAS_CHILDREN and not names):
                names.update(self._scanned(thread_id))
            return sorted(names)

    def _scanned(self, thread_id: str) -> Iterator[str]:
        """Find child threads by their keys: an earlier version did not list them.

        Or the list was deleted by hand.
        """
        prefix, _ = self.keys.of_thread(thread_id)
        begins = f"{prefix}t:{thread_id}{CHILD}"
        pattern = re.sub(r"([*?\[\]\\^])", r"\\\1", begins) + "*:head"
        for key in self.client.scan_iter(pattern, count=_SCAN_COUNT):
            yield key.decode().removeprefix(f"{prefix}t:").removesuffix(":head")

    def delete(self, thread_id: str) -> Refusal | None:
        """Delete a thread with its child threads; see `Checkpointer.delete`.

        The last piece has the thread itself; child threads whose run has ended come first. If this
        process dies in between, the thread can still be resumed, or deleted.
        """
        children = self.children(thread_id)
        if not self._are_whole([thread_id, *children]):
            children = self._name_what_is_left(thread_id, children)
        if len(children) > _CHILDREN_MAX:
            pending = self._pending(children)
            children.sort(key=lambda child: child in pending)
        while len(children) > _CHILDREN_MAX:
            piece, children = children[:_CHILDREN_MAX], children[_CHILDREN_MAX:]
            refused = self._erase(thread_id, piece, whole=False)
            if refused is not None:
                return refused
        return self._erase(thread_id, children, whole=True)

    def _are_whole(self, thread_ids: list[str]) -> bool:
        """Return whether each of some threads has the keys that name the others."""
        with available():
            pipe = self.client.pipeline(transaction=False)
            for thread_id in thread_ids:
                _, own = self.keys.of_thread(thread_id)
                pipe.exists(own + "head", own + "data")
            answers: Any = pipe.execute()
        return all(count == 2 for count in answers)

    def _name_what_is_left(self, thread_id: str, children: list[str]) -> list[str]:
        """Store the ids of steps of a thread from which keys were deleted; return child threads.

        They are found by their keys. The steps in `gone` are deleted by the next calls of the
        script, which also removes the thread from the indexes.
        """
        prefix, _ = self.keys.of_thread(thread_id)
        begins = f"{prefix}t:{thread_id}"
        pattern = re.sub(r"([*?\[\]\\^])", r"\\\1", begins) + "*"
        left: dict[str, set[str]] = {child: set() for child in children}
        with available():
            for key in self.client.scan_iter(pattern, count=_SCAN_COUNT):
                name = key.decode("utf-8", "surrogateescape").removeprefix(begins)
                if found := _LEFT.fullmatch(name):
                    left.setdefault(thread_id + found[1], set()).update(filter(None, [found[2]]))
            listed = any(self.client.zscore(prefix + i, thread_id) is not None for i in _INDEXES)
            if left or listed:
                left.setdefault(thread_id, set())
            for each, steps in left.items():
                _, its = self.keys.of_thread(each)
                stored: Any = self.client.get(its + "gone") or b""
                known = stored.decode().split()
                self.client.set(its + "gone", " ".join(sorted(steps.union(known))))
        return sorted(left.keys() - {thread_id})

    def _pending(self, thread_ids: list[str]) -> set[str]:
        """Return which threads have a run that has not ended."""
        with available():
            pipe = self.client.pipeline(transaction=False)
            for thread_id in thread_ids:
                pipe.hget(self.keys.of_thread(thread_id)[1] + "head", "status")
            answers = pipe.execute()
        final = {status.value.encode() for status in RunStatus if status.final}
        return {name for name, a in zip(thread_ids, answers, strict=True) if a not in final}

    def _erase(self, thread_id: str, children: list[str], *, whole: bool) -> Refusal | None:
        args = [thread_id, int(whole), _STEPS_MAX, *children]
        while True:
            refused, left = self.scripts.call("delete", self.keys.of_thread(thread_id), args)
            if refused:
                return Refusal(refused.decode())
            if not left:
                return None

    def delete_history(self, thread_id: str) -> Refusal | None:
        """Delete the history below the head; see `Checkpointer.delete`.

        Once no other checkpoint is left, nothing can need the values that the head does not: those
        that come later have new names.
        """
        self.scripts.check()
        prefixes = self.keys.of_thread(thread_id)
        more = 1
        while more:
            with available():
                names: Any = self.client.hkeys(prefixes[1] + "data")
            refused, more, needed = self.scripts.call("prune", prefixes, [_CHECKPOINTS_MAX])
            if refused:
                return Refusal(refused.decode())
        kept = set(needed)
        values = [name for name in names if CHILD.encode() in name and name not in kept]
        with available():
            for start in range(0, len(values), _VALUES_MAX):
                self.client.hdel(prefixes[1] + "data", *values[start : start + _VALUES_MAX])
        return None
