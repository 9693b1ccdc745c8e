"""What a node writes that steers the graph around its own."""

from __future__ import annotations

from typing import Any

from orchestrator.errors import InvalidUpdateError, ParentCommand
from orchestrator.graph.routing import Command, Send
from orchestrator.ids import root_thread
from orchestrator.step.attempt import Attempt, Result
from orchestrator.step.invoke import targets_of

__all__ = ["parent_result"]


def parent_result(attempt: Attempt, command: Any) -> Result:
    """Return the write by which a step hands its command to the graph around its own.

    Raises:
        InvalidUpdateError: if the command names another graph, or leads nowhere.
        ParentCommand: if no graph is around, as in LangGraph: the caller of the run may handle it.
    """
    who = f"the node {attempt.step.node!r}"
    if command.graph != Command.PARENT:
        msg = (
            f"{who} returned a Command for the graph {command.graph!r}: graph must be "
            f"Command.PARENT, for the graph around this one, or be left out"
        )
        raise InvalidUpdateError(msg)
    if not root_thread(attempt.step.thread_id)[1]:
        raise ParentCommand(command)
    return Result(((Command.PARENT, [command.update, _plain_targets(who, command)]),))


def _plain_targets(who: str, command: Any) -> list[Any]:
    targets = targets_of(who, command)
    wrong = [target for target in targets if not isinstance(target, (str, Send))]
    if wrong:
        msg = f"{who} returned Command(goto={wrong[0]!r}): expected a node, a Send, or a list"
        raise InvalidUpdateError(msg)
    return [t if isinstance(t, str) else [t.node, t.arg] for t in targets]
