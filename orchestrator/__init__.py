"""Durable graphs on Celery and Redis: the public names.

They are imported when first used, so that importing the package stays cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.channels import Overwrite
    from orchestrator.checkpoint.model import Interrupt
    from orchestrator.checkpointer.memory import MemoryCheckpointer
    from orchestrator.checkpointer.redis import RedisCheckpointer
    from orchestrator.checkpointer.sqlite import SqliteCheckpointer
    from orchestrator.client.client import Client
    from orchestrator.client.compiled import CompiledStateGraph, StateGraph
    from orchestrator.client.handle import RunHandle
    from orchestrator.client.snapshot import StateSnapshot
    from orchestrator.config import Settings
    from orchestrator.execute.celery import CeleryExecutor
    from orchestrator.graph.interrupt import interrupt
    from orchestrator.graph.policy import RetryPolicy
    from orchestrator.graph.routing import END, START, Command, Send
    from orchestrator.step.context import StepContext

__all__ = [
    "END",
    "START",
    "CeleryExecutor",
    "Client",
    "Command",
    "CompiledStateGraph",
    "Interrupt",
    "MemoryCheckpointer",
    "Overwrite",
    "RedisCheckpointer",
    "RetryPolicy",
    "RunHandle",
    "Send",
    "Settings",
    "SqliteCheckpointer",
    "StateGraph",
    "StateSnapshot",
    "StepContext",
    "interrupt",
]

_HOMES = {
    "CeleryExecutor": "execute.celery",
    "Client": "client.client",
    "Command": "graph.routing",
    "CompiledStateGraph": "client.compiled",
    "END": "graph.routing",
    "Interrupt": "checkpoint.model",
    "MemoryCheckpointer": "checkpointer.memory",
    "Overwrite": "channels",
    "RedisCheckpointer": "checkpointer.redis",
    "RetryPolicy": "graph.policy",
    "RunHandle": "client.handle",
    "START": "graph.routing",
    "Send": "graph.routing",
    "Settings": "config",
    "SqliteCheckpointer": "checkpointer.sqlite",
    "StateGraph": "client.compiled",
    "StateSnapshot": "client.snapshot",
    "StepContext": "step.context",
    "interrupt": "graph.interrupt",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(import_module(f"orchestrator.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
