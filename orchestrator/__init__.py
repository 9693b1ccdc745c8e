"""Durable graphs on Celery and Redis: the public names.

They are imported when first used, so that importing the package stays cheap. Their types are in
`__init__.pyi`, for type checkers and editors.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_MODULES = {
    "cache": "BaseCache CachePolicy InMemoryCache",
    "channels": (
        "AnyValue BaseChannel BinaryOperatorAggregate DeltaChannel EphemeralValue LastValue "
        "LastValueAfterFinish NamedBarrierValue NamedBarrierValueAfterFinish Overwrite Topic "
        "UntrackedValue"
    ),
    "checkpointer.memory": "InMemorySaver MemoryCheckpointer",
    "checkpointer.redis": "RedisCheckpointer RedisSaver",
    "checkpointer.saver": "BaseCheckpointSaver",
    "checkpointer.sqlite": "SqliteCheckpointer SqliteSaver",
    "client.options": "ConfigError OptionError",
    "client.callbacks": "GraphCallbackHandler GraphInterruptEvent GraphResumeEvent",
    "client.client": "Client RunHandle",
    "client.graph": "CompiledStateGraph StateGraph",
    "client.results": "GraphOutput",
    "client.savers": "CheckpointTuple",
    "client.snapshot": "PregelTask StateSnapshot",
    "client.workflows": "entrypoint",
    "config": "Settings",
    "dispatch.celery": "CeleryExecutor",
    "dispatch.local": "InProcess",
    "engine.edit": "StateUpdate",
    "errors": (
        "CheckpointerUnavailableError EmptyChannelError EmptyInputError ErrorCode GraphBubbleUp "
        "GraphDrained GraphInterrupt GraphMismatchError GraphPausedError GraphRecursionError "
        "GraphstalkError InvalidAnswerError InvalidGraphError InvalidThreadIdError "
        "InvalidUpdateError NoPendingInterruptError NodeCancelledError NodeError NodeInterrupt "
        "NodeTimeoutError NotSupportedError ParentCommand ResumesExhaustedError "
        "RunCancelledError RunNotFinishedError StateCorruptedError StepFailedError StreamGapError "
        "TaskNotFound ThreadBusyError UnknownEffectError UnknownGraphError UnknownInterruptError "
        "UnknownThreadError UnknownTypeError UnserializableValueError WorkerLostError"
    ),
    "graph.conversation": (
        "MessagesState REMOVE_ALL_MESSAGES RemoveMessage add_messages push_message"
    ),
    "graph.policy": "RetryPolicy TimeoutPolicy",
    "graph.routing": "Command END START Send",
    "graph.schema": "IsLastStep RemainingSteps",
    "graph.scope": (
        "ExecutionInfo RunControl Runtime ServerInfo StreamWriter get_config get_runtime get_store "
        "get_stream_writer interrupt"
    ),
    "graph.task": "task",
    "model.checkpoint": "Interrupt",
    "serde": "register_type",
    "serde.codec": "UnknownValue",
    "step.context": "StepContext",
    "store": "BaseStore InMemoryStore Item SearchItem",
}
_LANGGRAPH = {  # Names of LangGraph for what has a name of its own here.
    "InMemorySaver": "MemoryCheckpointer",
    "RedisSaver": "RedisCheckpointer",
    "SqliteSaver": "SqliteCheckpointer",
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names.split()}

__all__ = sorted(_HOMES)  # noqa: PLE0605 - the table above is the list


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    module = import_module(f"orchestrator.{_HOMES[name]}")
    value = getattr(module, _LANGGRAPH.get(name, name))
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
