"""Workflows as plain functions: an entrypoint is a graph of one step."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Concatenate, Generic, TypeVar, overload

from orchestrator.channels import EphemeralValue, LastValue
from orchestrator.checkpointer.base import Checkpointer
from orchestrator.client.graph import CompiledStateGraph
from orchestrator.client.options import check_parts
from orchestrator.dispatch.base import Executor
from orchestrator.errors import InvalidGraphError
from orchestrator.graph.compile import identified
from orchestrator.graph.introspection import injected, name_of
from orchestrator.graph.policy import RetryPolicy, TimeoutPolicy, policies_of
from orchestrator.graph.routing import END, START
from orchestrator.graph.schema import Reader, codec_classes
from orchestrator.graph.spec import GraphSpec, NodeOptions, NodeSpec
from orchestrator.step.context import PREVIOUS

R = TypeVar("R")
S = TypeVar("S")
Given = TypeVar("Given")
Returned = TypeVar("Returned")


class entrypoint:  # noqa: N801 - LangGraph's name
    """Make a function of one argument a workflow that can be run like a graph.

    The function may call tasks and subgraphs, ask with `interrupt`, and take `config`, `ctx`,
    `previous`, `runtime`, `store` and `writer` by name. When the run continues after a pause or a
    crash, the function starts again from its beginning; what its tasks had returned is there.
    """

    @dataclass(frozen=True, slots=True)
    class final(Generic[R, S]):  # noqa: N801 - LangGraph's name
        """What to return, where the next run's `previous` is to be something else.

        Attributes:
            value: what the run returns.
            save: what the next run on the thread gets as `previous`.
        """

        value: R
        save: S

    def __init__(
        self,
        checkpointer: Checkpointer | bool | None = None,  # noqa: FBT001 - LangGraph's signature
        store: Any = None,
        cache: Any = None,
        context_schema: Any = None,
        cache_policy: Any = None,
        retry_policy: RetryPolicy | Sequence[RetryPolicy] | None = None,
        timeout: float | timedelta | TimeoutPolicy | None = None,
        executor: Executor | None = None,
    ) -> None:
        """Say how the workflow runs; the arguments mean what they mean for a graph and a node."""
        check_parts(store=store, cache=cache, executor=executor)
        self._checkpointer, self._store, self._cache = checkpointer, store, cache
        self._context_schema, self._executor = context_schema, executor
        self._options = NodeOptions(
            retry=policies_of(retry_policy),
            cache=cache_policy,
            timeout=TimeoutPolicy.coerce(timeout),
        )

    @overload
    def __call__(
        self, function: Callable[Concatenate[Given, ...], Awaitable[Returned]]
    ) -> CompiledStateGraph[Any, Any, Given, Returned]: ...

    @overload
    def __call__(
        self, function: Callable[Concatenate[Given, ...], Returned]
    ) -> CompiledStateGraph[Any, Any, Given, Returned]: ...

    def __call__(self, function: Callable[..., Any]) -> CompiledStateGraph[Any, Any, Any, Any]:
        """Return the function as a graph.

        Raises:
            NotImplementedError: for a generator.
            InvalidGraphError: for a function without a parameter.
        """
        name = name_of(function)
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            msg = f"a generator cannot be an entrypoint: {name!r}"
            raise NotImplementedError(msg)
        parameters = list(inspect.signature(function).parameters.values())
        if not parameters:
            msg = f"the entrypoint {name!r} takes no argument; it needs one for its input"
            raise InvalidGraphError(msg)
        graph = CompiledStateGraph(
            self._spec(name, function, parameters[0].name),
            checkpointer=self._checkpointer,
            executor=self._executor,
        )
        graph.store, graph.cache = self._store, self._cache
        graph.default_name = name
        return graph

    def _spec(self, name: str, function: Callable[..., Any], first: str) -> GraphSpec:
        hints = _hints(function)
        given, returned = hints.get(first, Any), hints.get("return", Any)
        returned_, saved = _returned(returned)
        body = NodeSpec(
            name=START,
            label=name,
            action=function,
            injected=injected(function),
            reader=Reader(None, (START,)),
            triggers=(START,),
            writes=(),
            returns=_writes,
            options=identified(self._options, f"the entrypoint {name!r}", function),
        )
        return GraphSpec(
            name=name,
            channels={
                END: LastValue(returned_, END),
                PREVIOUS: LastValue(saved, PREVIOUS),
                START: EphemeralValue(given, key=START),
            },
            nodes={START: body},
            state_keys=(END, PREVIOUS),
            input_keys=(START,),
            output_keys=(END,),
            input_schema=given,
            output_schema=returned_,
            context_schema=self._context_schema,
            classes=tuple(codec_classes([given, returned_, saved, self._context_schema])),
        )


def _writes(result: Any) -> tuple[tuple[str, Any], ...]:
    if isinstance(result, entrypoint.final):
        return ((END, result.value), (PREVIOUS, result.save))
    return ((END, result), (PREVIOUS, result))


def _returned(hint: Any) -> tuple[Any, Any]:
    """Return the types of what is returned and of what is saved."""
    if hint is entrypoint.final:
        return Any, Any
    if typing.get_origin(hint) is entrypoint.final:
        value, save = typing.get_args(hint)
        return value, save
    return hint, hint


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError, AttributeError):
        return {}
