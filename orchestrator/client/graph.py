"""A graph that can be run: in this process, or on a fleet, by the same calls."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import replace
from typing import Any, Literal, Unpack, cast, overload

from orchestrator import limits
from orchestrator.checkpointer.base import Checkpointer
from orchestrator.client.aio import AsyncFace
from orchestrator.client.graph_base import GraphBase
from orchestrator.client.invocation import Invocation
from orchestrator.client.node_states import node_states
from orchestrator.client.options import (
    CallOptions,
    CompileOptions,
    ValueOptions,
    check_parts,
    checked,
    checked_compile,
    joined,
    merged,
    parse_config,
)
from orchestrator.client.results import GraphOutput
from orchestrator.client.state import StateFace
from orchestrator.client.stream import printed, prints, stream_parts
from orchestrator.drawing import Drawing, Opens, drawing_of
from orchestrator.graph.builder import GraphBuilder
from orchestrator.graph.compile import checked_dispatch, checked_queue
from orchestrator.graph.routing import START, Command
from orchestrator.graph.spec import (
    DEFAULT_NAME,
    ContextT,
    GraphSpec,
    InputT,
    OfState,
    OutputT,
    StateT,
)
from orchestrator.ids import ThreadId
from orchestrator.step.node_cache import node_namespaces

_Config = Mapping[str, Any] | ThreadId | None


class StateGraph(GraphBuilder[StateT, ContextT, InputT, OutputT]):
    """A graph over a typed state: nodes read it and return updates of it."""

    def compile(
        self,
        checkpointer: Checkpointer | bool | None = None,  # noqa: FBT001 - LangGraph's signature
        *,
        cache: Any = None,
        store: Any = None,
        name: str | None = None,
        interrupt_before: Iterable[str] | Literal["*"] | None = None,
        interrupt_after: Iterable[str] | Literal["*"] | None = None,
        **options: Unpack[CompileOptions],
    ) -> CompiledStateGraph[StateT, ContextT, InputT, OutputT]:
        """Check the graph and return it ready to run.

        Args:
            checkpointer: keeps threads, so that runs can pause and resume. Without one, each call
                is on its own and forgotten when it returns; as a subgraph, the graph uses that of
                the graph around it. `True`: a subgraph whose state outlives the runs of the graph
                around it; `False`: a subgraph that keeps nothing.
            cache: keeps results of nodes that have a `CachePolicy`.
            store: the long-term memory that nodes get.
            name: under which workers and people know the graph.
            interrupt_before: nodes before which a run pauses; `"*"` for all.
            interrupt_after: nodes after which a run pauses.
            **options: see `CompileOptions`.

        Raises:
            InvalidGraphError: if something is wrong with the graph.
            OptionError: if there is no such option, or a checkpointer, store, cache or executor is
                none.
        """
        chosen = checked_compile(options)
        check_parts(store=store, cache=cache, executor=chosen.get("executor"))
        spec = self.freeze(name or DEFAULT_NAME, interrupt_before or (), interrupt_after or ())
        dispatch = checked_dispatch(chosen.get("dispatch"))
        spec = replace(spec, dispatch=dispatch, queue=checked_queue(chosen.get("queue")))
        executor = chosen.get("executor")
        graph: CompiledStateGraph[StateT, ContextT, InputT, OutputT]
        graph = CompiledStateGraph(spec, checkpointer=checkpointer, executor=executor)
        graph.cache, graph.store = cache, store
        graph.debug = bool(chosen.get("debug"))
        graph.builder = self
        return graph


class CompiledStateGraph(
    StateFace,
    AsyncFace[StateT, ContextT, InputT, OutputT],
    OfState[StateT, ContextT, InputT, OutputT],
):
    """A frozen graph with a checkpointer for its threads and an executor for its steps."""

    # ---- running ------------------------------------------------------------------------

    @overload
    def invoke(
        self,
        input: InputT | Mapping[str, Any] | Command[Any] | None,
        config: _Config = None,
        *,
        version: Literal["v2"],
        **options: Unpack[ValueOptions],
    ) -> GraphOutput[OutputT]: ...

    @overload
    def invoke(
        self,
        input: InputT | Mapping[str, Any] | Command[Any] | None,
        config: _Config = None,
        **options: Unpack[CallOptions],
    ) -> dict[str, Any] | Any: ...

    def invoke(
        self,
        input: Any,  # noqa: A002 - LangGraph's name
        config: _Config = None,
        **options: Unpack[CallOptions],
    ) -> Any:
        """Run until the run ends or pauses; return the state's output keys.

        Args:
            input: an update of the state for a new run; `None` to continue where the thread
                stopped; `Command(resume=…)` to answer what it asked, `Command(update=…, goto=…)`
                to change it and route it.
            config: names the thread, as `{"configurable": {"thread_id": "t"}}`, `{"thread_id":
                "t"}` or `"t"`; with a `checkpoint_id`, continues from there as a new branch.
            **options: see `CallOptions`.

        Returns:
            the output; with `"__interrupt__"`: the open questions, if the run asks something. With
            another `stream_mode` than values: the list of what `stream` gives. With `version="v2"`:
            a `GraphOutput`.

        Raises:
            EmptyInputError: for `None` on a thread that does not exist.
            ThreadBusyError: if the thread's run is active.
            NoPendingInterruptError: for an answer to a thread that asks nothing.
            GraphPausedError: if a node paused the run by raising `InterruptedError`.
            GraphMismatchError: if what is left to run was planned by a graph of another structure.
            StepFailedError: if a node failed in another process; here, what it raised itself.
        """
        chosen = checked(options)
        mode = chosen.get("stream_mode")
        if mode is not None and mode != "values":
            return list(self.stream(input, config, **options))
        call = Invocation.of(self, merged(self.config, config), chosen)
        if prints(call) and not call.is_child:
            return printed(call, input)
        return call.result(input)

    def stream(
        self,
        input: InputT | Mapping[str, Any] | Command[Any] | None,  # noqa: A002 - LangGraph's name
        config: _Config = None,
        **options: Unpack[CallOptions],
    ) -> Iterator[Any]:
        """Run, and show what happens as it happens.

        A reader that stops reading stops the run after the current superstep; it can be resumed.

        Args:
            input: as for `invoke`.
            config: as for `invoke`.
            **options: see `CallOptions`; above all `stream_mode` and `subgraphs`.

        Yields:
            a chunk; `(mode, chunk)` for a list of modes; `(namespace, chunk)` or `(namespace, mode,
            chunk)` with `subgraphs`; dicts with `type`, `ns` and `data` with `version="v2"`.
        """
        call = Invocation.of(self, merged(self.config, config), checked(options))
        return stream_parts(call, input)

    def batch(
        self,
        inputs: Sequence[Any],
        config: _Config | Sequence[_Config] = None,
        *,
        return_exceptions: bool = False,
        **options: Unpack[CallOptions],
    ) -> list[Any]:
        """Run several inputs side by side; return their outputs in order.

        Args:
            inputs: the inputs.
            config: one for all, or one for each; `max_concurrency` bounds how many run at a time.
            return_exceptions: whether an error is returned as an output instead of being raised.
            **options: see `CallOptions`.

        Raises:
            ValueError: if there are not as many configs as inputs.
        """
        configs: list[Any] = [config] * len(inputs)
        if isinstance(config, (list, tuple)):
            configs = list(config)
        if len(configs) != len(inputs):
            msg = f"{len(inputs)} inputs and {len(configs)} configs: give one config, or one each"
            raise ValueError(msg)
        if not inputs:
            return []

        def one(value: Any, config_: Any) -> Any:
            try:
                return self.invoke(value, config_, **options)
            except Exception as error:
                if return_exceptions:
                    return error
                raise

        size = merged(self.config, configs[0]).concurrency_max or len(inputs)
        with ThreadPoolExecutor(min(size, limits.BATCH_THREADS_MAX), "graphstalk-batch") as pool:
            pairs = zip(inputs, configs, strict=True)
            futures = [pool.submit(copy_context().run, one, v, c) for v, c in pairs]
            return [future.result() for future in futures]

    # ---- how ----------------------------------------------------------------------------------

    def with_config(self, config: _Config = None, **more: Any) -> CompiledStateGraph:
        """Return the same graph with a config that holds for all of its calls.

        A call adds what it says itself: tags and callbacks of both hold, metadata and
        `configurable` are merged by key, and of everything else the call's own value.
        """
        graph = self.copy()
        short = config is not None and not isinstance(config, Mapping)
        given: Any = {"thread_id": config} if short else config or {}
        graph.config = joined(joined(self.config, given), more)
        return graph

    def copy(self) -> CompiledStateGraph:
        """Return the same graph as another object."""
        graph = type(self).__new__(type(self))
        graph.__dict__.update(self.__dict__)
        return graph

    def get_subgraphs(
        self, *, namespace: str | None = None, recurse: bool = False
    ) -> Iterator[tuple[str, CompiledStateGraph]]:
        """Iterate over subgraphs by namespace, that is by the names of their nodes.

        Args:
            namespace: only the subgraph of this namespace, as `"outer"` or `"outer|inner"`.
            recurse: whether to show subgraphs of subgraphs too.
        """
        for node, found in self.direct_subgraphs():
            graph = cast("CompiledStateGraph", found)
            if namespace in {None, node}:
                yield node, graph
            inner = None
            if namespace is not None and namespace.startswith(f"{node}|"):
                inner = namespace.removeprefix(f"{node}|")
            if inner is not None or (recurse and namespace is None):
                for name, below in graph.get_subgraphs(namespace=inner, recurse=recurse):
                    yield f"{node}|{name}", below

    async def aget_subgraphs(self, *, namespace: str | None = None, recurse: bool = False) -> Any:
        """Iterate over what `get_subgraphs` gives."""
        for found in self.get_subgraphs(namespace=namespace, recurse=recurse):
            yield found

    def clear_cache(self, nodes: Sequence[str] | None = None) -> None:
        """Remove the cached results of these nodes; by default of all, also in subgraphs.

        Raises:
            ValueError: if the graph has no cache, or no such node.
        """
        if self.cache is None:
            msg = f"the graph {self.name!r} was compiled without a cache"
            raise ValueError(msg)
        unknown = [node for node in nodes or () if node not in self.spec.nodes]
        if unknown:
            known = ", ".join(repr(node) for node in self.spec.nodes if node != START)
            msg = f"clear_cache() takes names of nodes ({unknown[0]!r}). The nodes are: {known}"
            raise ValueError(msg)
        kept = node_namespaces(self.spec, self.spec.nodes if nodes is None else nodes)
        inner = self.spec.subgraphs.values() if nodes is None else ()
        todo = [cast("GraphBase", graph) for graph in inner]
        while todo:  # Those with a cache of their own keep nothing in this one.
            graph = todo.pop()
            if graph.cache is None:
                kept += node_namespaces(graph.spec, graph.spec.nodes)
                todo += [cast("GraphBase", g) for g in graph.spec.subgraphs.values()]
        self.cache.clear(kept)

    def get_graph(self, config: _Config = None, *, xray: int | bool = False) -> Drawing:
        """Return a drawing of the graph: text, SVG, Mermaid, ASCII, made here.

        Args:
            config: if it names a thread that there is, the drawing shows how far that is: which
                nodes have run since its input, run, failed, paused, or come next; at a
                checkpoint, which had run then and came next. With the namespace of a subgraph, it
                is the subgraph that is drawn.
            xray: shows the nodes of subgraphs: of all, or down to this number of levels.
        """
        parsed = parse_config(config)
        inner = self.graph_of(parsed.ns) or self
        drawing = drawing_of(inner.spec, xray=xray, opens=_opens(inner) if xray else None)
        if parsed.thread_id is None or isinstance(self.checkpointer, bool | None):
            return drawing
        states = node_states(self, parsed.thread(), parsed.checkpoint_id, drawing.clusters)
        return drawing.with_states(states)

    def _repr_mimebundle_(self, **_options: Any) -> dict[str, str]:
        """Return what a notebook shows."""
        return {"image/svg+xml": self.get_graph().draw_svg(), "text/plain": repr(self)}


def _opens(graph: GraphBase) -> Opens:
    """Return how a drawing finds the graphs that nodes are, or that their code calls."""
    known = {id(graph.spec): graph}

    def opens(spec: GraphSpec) -> Mapping[str, GraphSpec]:
        below = dict(known[id(spec)].direct_subgraphs())
        known.update((id(each.spec), each) for each in below.values())
        return {name: each.spec for name, each in below.items()}

    return opens
