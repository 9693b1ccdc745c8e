"""What a node writes that steers the graph around its own."""

from __future__ import annotations

from typing import Any

from orchestrator.errors import InvalidUpdateError
from orchestrator.graph.routing import Command
from orchestrator.ids import root_thread
from orchestrator.step.attempt import Attempt, Result

__all__ = ["parent_result"]


def parent_result(attempt: Attempt, command: Any) -> Result:
    """Return the write by which a step hands its command to the graph around its own.

    Raises:
        InvalidUpdateError: if there is no such graph.
    """
    if not root_thread(attempt.step.thread_id)[1] or command.graph != Command.PARENT:
        msg = (
            f"the node {attempt.step.node!r} returned a Command for the graph "
            f"{command.graph!r}, but there is no such graph around this one: leave out graph=…"
        )
        raise InvalidUpdateError(msg)
    plain = [command.update, [_plain_target(target) for target in command.targets()]]
    return Result(((Command.PARENT, plain),))


def _plain_target(target: Any) -> Any:
    return target if isinstance(target, str) else [target.node, target.arg]
