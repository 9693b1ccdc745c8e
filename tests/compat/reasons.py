"""The verdicts that cannot be computed, each with its reason.

`DIFFERS`: a name that is here and does something else, or is here under another name. `MISSING`: a
name that is not here. `PARAMETERS`: what a name here does not take.
"""

_GRAPH = "langgraph.graph.state.CompiledStateGraph"
_RUNNABLE = (
    "a method of langchain's `Runnable`, which a graph here is not, so that langchain is never "
)
_RUNNABLE += "needed; `RunnableLambda(graph.invoke)` has it"
_HINT = "a name for type checkers only"
_UI = 'messages for LangGraph\'s front end; a `stream_mode` "custom" carries anything'
_OLD = "deprecated there"
_ENGINE = "a part of LangGraph's engine that its own code uses"
_LOW = "the layer below `StateGraph`; there is one way here to write a graph"
_SAVER = "the seam here is another: `orchestrator/checkpointer/base.py`"
_BASE = "langgraph.checkpoint.base.BaseCheckpointSaver"
_PUT = "refused: only runs and edits make checkpoints; use `update_state`"
_FOR_RUNS = "refused: runs share checkpoints; use `prune` or `delete_thread`"
_IDLE = "a thread whose run is active is refused"
_COPIED = "refused while the thread asks something or its run is active; use `fork` then"
_SERDE = "there is one codec ([values.md](values.md)); `register_type` teaches it more"
_EVENTS = (
    "langchain's stream of callback events; `stream` with several modes shows the same of a graph"
)
_PARTS = 'a TypedDict for type checkers; the dicts of `version="v2"` have these keys'


def _of(prefix: str, names: str, why: str) -> dict[str, str]:
    return {f"{prefix}.{name}": why for name in names.split()}


DIFFERS = {
    "langgraph.graph.StateGraph": (
        'an update of an unknown key is an error; `unknown_keys="ignore"` drops it, as there'
    ),
    "langgraph.graph.state.StateGraph": "as `langgraph.graph.StateGraph`",
    "langgraph.graph.StateGraph.compile": "has an `executor`, too, which runs the steps",
    "langgraph.graph.StateGraph.add_node": "takes a `queue`, too; `timeout` stops sync nodes",
    f"{_GRAPH}.invoke": (
        "resumes strictly: an answer to a thread that asks nothing is an error; a thread with an "
        "active run is refused"
    ),
    f"{_GRAPH}.ainvoke": "as `invoke`; async nodes run in the caller's event loop",
    f"{_GRAPH}.astream_events": "versions 1 and 2; needs langchain-core",
    f"{_GRAPH}.get_state": "a bare thread id serves as config, here and below",
    f"{_GRAPH}.update_state": "refused while a run is active; `task_id` has no effect",
    "langgraph.types.interrupt": "takes a `key`, too",
    "langgraph.types.Interrupt": "has `key`, too; `interrupt_id`, deprecated there, is gone",
    "langgraph.types.Command": "any value is an answer, also `None`; an unknown id is an error",
    "langgraph.types.PregelTask": "`error` is a record with type, message and traceback",
    "langgraph.types.StateSnapshot": "`config` orders by succession, not by a clock",
    "langgraph.types.TimeoutPolicy": "holds for synchronous nodes, too",
    "langgraph.types.RetryPolicy": "attempts are counted where the thread is kept, over crashes",
    "langgraph.types.CachePolicy": "the key is a digest, never a pickle; `name` names its code",
    "langgraph.types.All": 'write `"*"`',
    "langgraph.types.Durability": '"sync" by default; on a fleet every commit is as with "sync"',
    "langgraph.types.StreamMode": "`orchestrator.client.options.StreamMode`",
    "langgraph.errors.UnknownInterruptError": (
        "raised always, not only in strict mode; a kind of `NoPendingInterruptError`"
    ),
    "langgraph.errors.TaskNotFound": "a `GraphstalkError`",
    "langgraph.runtime.ServerInfo": "there is no such server, so it is always absent",
    "langgraph.checkpoint.memory.InMemorySaver": "another name of `MemoryCheckpointer`",
    "langgraph.checkpoint.sqlite.SqliteSaver": "another name of `SqliteCheckpointer`; takes a path",
    _BASE: f"a base of every checkpointer, which reads and deletes; {_SERDE}",
    **dict.fromkeys((f"{_BASE}.{n}" for n in ("put", "aput", "put_writes", "aput_writes")), _PUT),
    **dict.fromkeys((f"{_BASE}.{n}" for n in ("delete_for_runs", "adelete_for_runs")), _FOR_RUNS),
    **dict.fromkeys((f"{_BASE}.{n}" for n in ("delete_thread", "adelete_thread")), _IDLE),
    **dict.fromkeys((f"{_BASE}.{n}" for n in ("prune", "aprune")), _IDLE),
    **dict.fromkeys((f"{_BASE}.{n}" for n in ("copy_thread", "acopy_thread")), _COPIED),
    "langgraph.checkpoint.base.CheckpointTuple": "ids and versions are this project's",
    "langgraph.channels.BaseChannel": ("knows its update rule only; values are kept outside of it"),
    "langgraph.store.base.Embeddings": "any object with `embed_documents` and `embed_query` serves",
    "langgraph.store.sqlite.AsyncSqliteStore": "`SqliteStore` has the async methods, too",
}

MISSING = {
    **_of(
        _BASE,
        "get_delta_channel_history aget_delta_channel_history get_next_version with_allowlist",
        _SAVER,
    ),
    "langgraph.graph.MessageGraph": _OLD,
    "langgraph.graph.message.MessageGraph": _OLD,
    **_of("langgraph.graph.ui", "AnyUIMessage RemoveUIMessage UIMessage delete_ui_message", _UI),
    **_of("langgraph.graph.ui", "push_ui_message ui_message_reducer", _UI),
    **_of(_GRAPH, "as_tool assign bind map pick pipe transform atransform", _RUNNABLE),
    **_of(_GRAPH, "with_alisteners with_fallbacks with_listeners with_retry with_types", _RUNNABLE),
    **_of(_GRAPH, "batch_as_completed abatch_as_completed get_prompts", _RUNNABLE),
    **_of(_GRAPH, "config_schema get_config_jsonschema", _OLD),
    **_of(_GRAPH, "astream_log stream_events", _EVENTS),
    **_of(_GRAPH, "attach_branch attach_edge attach_node validate", _ENGINE),
    **_of("langgraph.types", "CheckpointPayload CheckpointTask DebugPayload TaskPayload", _PARTS),
    **_of("langgraph.types", "CheckpointStreamPart CustomStreamPart DebugStreamPart", _PARTS),
    **_of("langgraph.types", "MessagesStreamPart StreamPart TaskResultPayload", _PARTS),
    **_of("langgraph.types", "TasksStreamPart UpdatesStreamPart ValuesStreamPart", _PARTS),
    "langgraph.types.Checkpointer": _HINT,
    "langgraph.types.PregelExecutableTask": _ENGINE,
    "langgraph.types.ensure_valid_checkpointer": _ENGINE,
    "langgraph.types.TracePolicy": "langchain's handlers hear of a node what it gets and returns",
    "langgraph.types.omit_payload": "for `TracePolicy`",
    "langgraph.runtime.BaseUser": "describes a user of LangGraph's server",
    "langgraph.errors.is_invalid_resume": "catch `InvalidAnswerError`",
    "langgraph.callbacks.GraphLifecycleEvent": "the two events have no base",
    "langgraph.callbacks.GraphLifecycleStatus": _HINT,
    **_of(
        "langgraph.callbacks",
        "get_async_graph_callback_manager_for_config get_sync_graph_callback_manager_for_config",
        _ENGINE,
    ),
    "langgraph.constants.CONF": 'write `"configurable"`',
    "langgraph.constants.CONFIG_KEY_CHECKPOINTER": _ENGINE,
    "langgraph.constants.TAG_HIDDEN": 'write `"langsmith:hidden"`',
    "langgraph.constants.TAG_NOSTREAM": 'write `"nostream"`',
    "langgraph.constants.TASKS": _ENGINE,
    "langgraph.pregel.NodeBuilder": _LOW,
    "langgraph.pregel.Pregel": _LOW,
    "langgraph.store.base.NamespaceMatchType": _HINT,
    "langgraph.store.base.NamespacePath": _HINT,
    **_of("langgraph.store.base", "ensure_embeddings get_text_at_path tokenize_path", _ENGINE),
    "langgraph.cache.base.ValueT": _HINT,
    "langgraph.checkpoint.memory.MemorySaver": "an old name of `InMemorySaver`",
    "langgraph.checkpoint.memory.PersistentDict": "`SqliteSaver` keeps threads in a file",
    **_of(
        "langgraph.checkpoint.base",
        "Checkpoint CheckpointMetadata DeltaChannelHistory V copy_checkpoint create_checkpoint "
        "empty_checkpoint get_checkpoint_id get_checkpoint_metadata "
        "get_serializable_checkpoint_metadata writes_sort_key",
        _SAVER,
    ),
}

PARAMETERS = {
    "langgraph.graph.StateGraph.add_node": {"trace_policy": "see `TracePolicy`"},
    "langgraph.graph.StateGraph.compile": {
        "transformers": 'experimental there: they shape `stream_events(version="v3")`',
    },
    _GRAPH: {"builder": "made by `compile`", "schema_to_mapper": "made by `compile`"},
    f"{_GRAPH}.copy": {"update": "`with_config` changes what may be changed"},
    "langgraph.types.Overwrite": {"type": 'always "__overwrite__"'},
    "langgraph.channels.BaseChannel": {
        "key": "a channel learns its key from the schema",
        "typ": "channels that hold a type take it themselves",
    },
    "langgraph.store.sqlite.SqliteStore": {
        "conn": "takes a `path`",
        "deserializer": "takes a `codec`",
    },
    "langgraph.cache.base.BaseCache": {"serde": "a cache keeps bytes"},
    "langgraph.cache.memory.InMemoryCache": {"serde": "a cache keeps bytes"},
    "langgraph.cache.sqlite.SqliteCache": {"serde": "a cache keeps bytes"},
    "langgraph.cache.redis.RedisCache": {
        "serde": "a cache keeps bytes",
    },
    "langgraph.checkpoint.memory.InMemorySaver": {
        "factory": "threads in memory are plain dicts",
    },
    "langgraph.checkpoint.sqlite.SqliteSaver": {"conn": "takes a `path`"},
    _BASE: {"serde": _SERDE},
}
