"""Which messages a reader of the stream mode `messages` has not seen; the rules are LangGraph's.

A message comes in parts while a model speaks, and whole when its node returns it, and perhaps again
when the graph around returns its state. A reader gets it once.

Rule 1: parts are always shown. Whole messages are shown unless the reader has had parts of them, or
        a node was called with them: then nobody said them just now.
Rule 2: what happens where the reader does not look, in subgraphs, it has not seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from orchestrator.client.projecting import Part, Projection
from orchestrator.graph.routing import START
from orchestrator.ids import root_thread
from orchestrator.integrations.langchain import message_ids
from orchestrator.step.facts import Advanced, Fact
from orchestrator.step.invoke import input_of

__all__ = ["Unseen"]


class Unseen:
    """What one reader has not seen."""

    def __init__(self, projection: Projection, subgraphs: bool) -> None:  # noqa: FBT001 - LangGraph's option
        """Begin with a reader who looks into subgraphs, or not."""
        self._projection, self._subgraphs = projection, subgraphs
        self._seen: set[Any] = set()  # Ids of messages.

    def parts(self, fact: Fact, base: str = "") -> Iterator[Part]:
        """Return what a stream shows of a fact, a message as a pair with its metadata.

        Args:
            fact: what happened.
            base: the namespace in which the reader stands.
        """
        return (part for _, part in self.numbered(fact, base))

    def numbered(self, fact: Fact, base: str = "") -> Iterator[tuple[int, Part]]:
        """Return the same, each with its place among all that could be shown of the fact."""
        looks = self._subgraphs or root_thread(fact.thread_id)[1] == base
        if looks and isinstance(fact, Advanced) and "messages" in self._projection.modes:
            self._notice(fact)
        for place, (space, mode, data) in self._projection.numbered(fact):
            if mode != "messages":
                yield place, (space, mode, data)
            elif looks and self._is_new(data):
                yield place, (space, mode, data[:2])

    def catch_up(self, facts: Iterable[Fact]) -> None:
        """Learn which messages the reader saw when it read these facts, earlier."""
        whole = self._projection
        self._projection = replace(whole, modes=whole.modes & {"messages"})
        for fact in facts:
            for _ in self.numbered(fact):
                pass
        self._projection = whole

    def _is_new(self, data: Any) -> bool:
        message, _, whole = data
        name = message["id"] if isinstance(message, dict) else message.id
        if whole and name in self._seen:
            return False
        self._seen.add(name)
        return True

    def _notice(self, fact: Advanced) -> None:
        """Remember the messages that nodes are called with."""
        frame = fact.frame
        spec = fact.spec
        for step in fact.begins:
            if spec is None or step.node not in spec.nodes:  # Called by code, or gone.
                self._seen |= message_ids(dict(frame.values))
            elif step.node != START or spec.nodes[START].action is not None:
                arg = frame.args.get(step.index)
                self._seen |= message_ids(input_of(spec, frame, step, arg))
