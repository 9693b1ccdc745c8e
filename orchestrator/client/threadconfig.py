"""What a caller says about the thread and the run, in any of the forms that are understood."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.engine.accept import NO_MARKS
from orchestrator.errors import GraphstalkError, InvalidThreadIdError
from orchestrator.ids import (
    ThreadId,
    check_thread_id,
    child_thread,
    parse_checkpoint_id,
)
from orchestrator.step.bridge import merged_callbacks

__all__ = [
    "ConfigError",
    "RootCheckpointerError",
    "ThreadConfig",
    "joined",
    "merged",
    "parse_config",
]

_TOP = {"thread_id", "checkpoint_id", "checkpoint_ns"}  # The short form's keys.
_MAP = "checkpoint_map"  # Of a subgraph's snapshot: the checkpoints of the graphs around it.
_MORE = ("callbacks", "tags", "run_name", "run_id")  # What only this process can use.
# What else a config may hold; any other key of it counts as one of `configurable`, as in LangGraph.
_KEYS = {
    *_TOP, *_MORE, _MAP, "configurable", "metadata", "recursion_limit", "max_concurrency",
    "resumes_max",
}  # fmt: skip
# What of `configurable` is shown to handlers and readers of messages, too, as in LangGraph.
_SHOWN = ("task_id", "run_id", "assistant_id", "graph_id")


class ConfigError(GraphstalkError, ValueError):
    """A config that does not say what is needed, or says it twice."""

    code = "INVALID_CONFIG"


class RootCheckpointerError(ConfigError, RuntimeError):
    """A graph with `checkpointer=True` that is no subgraph; as in LangGraph a `RuntimeError`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadConfig:
    """A config, understood."""

    thread_id: str | None = None
    ns: str = ""  # The namespace of a subgraph.
    checkpoint_id: int | None = None
    unknown_checkpoint: str = ""  # What stands where a checkpoint id must, and is none.
    around: Mapping[str, int] = field(default_factory=dict)  # Namespace → checkpoint around it.
    recursion_limit: int | None = None  # As the caller gave it.
    concurrency_max: int | None = None
    resumes_max: int | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    configurable: Mapping[str, Any] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)  # Callbacks, tags and the like.
    names: Mapping[str, Any] = field(default_factory=dict)  # Which checkpoint, as it was given.

    @property
    def shown(self) -> Mapping[str, Any]:
        """Return the metadata of the call as handlers and readers see it: with what it names."""
        own = {key: self.configurable.get(key) for key in _SHOWN}
        named = {**self.names, "thread_id": self.thread_id, **own}
        return {**{key: value for key, value in named.items() if value}, **self.metadata}

    @property
    def of_steps(self) -> Mapping[str, Any]:
        """Return what the caller says of each step: metadata, with tags, as streams show it."""
        tags = [tag for tag in self.more.get("tags") or () if not tag.startswith("seq:step")]
        shown = {key: v for key, v in self.shown.items() if key not in NO_MARKS}
        return {**shown, **({"tags": tags} if tags else {})}

    def thread(self) -> str:
        """Return the thread id; with a namespace, that of the subgraph's thread.

        Raises:
            ConfigError: if the config names no thread, or no checkpoint where it must.
        """
        if self.thread_id is None:
            msg = (
                'the graph keeps its threads, so say which one: config={"configurable": '
                '{"thread_id": "my-thread"}}, or short config={"thread_id": "my-thread"}'
            )
            raise ConfigError(msg)
        self._check_checkpoint()  # Only a graph that keeps threads reads the field at all.
        return child_thread(self.thread_id, self.ns)

    def before(self) -> int | None:
        """Return the checkpoint id, of a config that need not name a thread.

        Raises:
            ConfigError: if what stands there is no checkpoint id.
        """
        self._check_checkpoint()
        return self.checkpoint_id

    def _check_checkpoint(self) -> None:
        if self.unknown_checkpoint:
            try:
                parse_checkpoint_id(self.unknown_checkpoint)
            except ValueError as error:
                raise ConfigError(str(error)) from None

    def without_thread(self) -> ThreadConfig:
        """Return the config as a graph understands it that keeps no threads."""
        return replace(self, checkpoint_id=None)


def _bare_thread_id(config: Any) -> str:
    try:
        return check_thread_id(config)
    except InvalidThreadIdError as error:
        if isinstance(config, str):
            raise
        msg = f"a config must be a mapping or a thread id ({type(config).__name__}): {error}"
        raise ConfigError(msg) from None


def parse_config(config: Mapping[str, Any] | ThreadId | None) -> ThreadConfig:
    """Understand `{"configurable": {"thread_id": …}}`, `{"thread_id": …}` or a bare thread id.

    Raises:
        ConfigError: if a value is of the wrong kind.
        InvalidThreadIdError: if the thread id cannot be one.
    """
    if config is None:
        return ThreadConfig()
    if not isinstance(config, Mapping):
        return ThreadConfig(thread_id=_bare_thread_id(config))
    configurable = _mapping(config, "configurable")
    configurable |= {k: v for k, v in config.items() if k not in _KEYS and v is not None}
    named = {**configurable, **{key: config[key] for key in _TOP if key in config}}
    for key in _TOP.intersection(config).intersection(configurable):
        if str(configurable[key]) != str(config[key]):
            msg = (
                f"the config names two: {key} is {config[key]!r}, and {configurable[key]!r} inside"
            )
            raise ConfigError(msg)
    limit = config.get("recursion_limit")
    whole = isinstance(limit, int) and not isinstance(limit, bool)
    if limit is not None and not (whole and limit >= 1):
        msg = f"recursion_limit is the number of supersteps a run may take, at least 1: {limit!r}"
        raise ConfigError(msg)
    thread_id, checkpoint = named.get("thread_id"), named.get("checkpoint_id")
    checkpoint_id, unknown = None, ""
    try:
        checkpoint_id = None if checkpoint is None else parse_checkpoint_id(str(checkpoint))
    except ValueError:
        unknown = str(checkpoint)
    ns = named.get("checkpoint_ns") or ""
    if not isinstance(ns, str) or not (ns == "" or ns.isprintable()):
        msg = f"checkpoint_ns is the namespace of a subgraph, as a snapshot shows it: {ns!r:.100}"
        raise ConfigError(msg)
    return ThreadConfig(
        thread_id=None if thread_id is None else check_thread_id(thread_id),
        ns=ns,
        checkpoint_id=checkpoint_id,
        unknown_checkpoint=unknown,
        around=_around(named.get(_MAP)),
        recursion_limit=limit,
        concurrency_max=_count("max_concurrency", config.get("max_concurrency"), 1),
        resumes_max=_count("resumes_max", config.get("resumes_max"), 0),
        more={key: config[key] for key in _MORE if key in config},
        metadata=_mapping(config, "metadata"),
        names={key: value for key, value in named.items() if key in _TOP and value},
        configurable={
            key: value
            for key, value in configurable.items()
            if key not in _TOP and key != _MAP and not key.startswith("__graphstalk_")
        },
    )


def merged(always: Mapping[str, Any], config: Mapping[str, Any] | ThreadId | None) -> ThreadConfig:
    """Understand a config together with one that holds for all calls.

    Raises:
        ConfigError: as `parse_config`.
    """
    mine = parse_config(config)
    if not always:
        return mine
    base = parse_config(always)
    return ThreadConfig(
        thread_id=mine.thread_id or base.thread_id,
        ns=mine.ns or base.ns,
        checkpoint_id=mine.checkpoint_id or base.checkpoint_id,
        unknown_checkpoint=mine.unknown_checkpoint or base.unknown_checkpoint,
        around=mine.around or base.around,
        recursion_limit=mine.recursion_limit or base.recursion_limit,
        concurrency_max=mine.concurrency_max or base.concurrency_max,
        resumes_max=base.resumes_max if mine.resumes_max is None else mine.resumes_max,
        metadata={**base.metadata, **mine.metadata},
        configurable={**base.configurable, **mine.configurable},
        more=_more(base.more, mine.more),
        names={**base.names, **mine.names},
    )


def _around(given: Any) -> dict[str, int]:
    """Return the checkpoints that a `checkpoint_map` names, by namespace."""
    if given is None:
        return {}
    try:
        return {str(ns): parse_checkpoint_id(str(text)) for ns, text in given.items()}
    except (AttributeError, ValueError):
        msg = (
            f"{_MAP} is a mapping from namespace to checkpoint id, as a snapshot shows it: "
            f"{given!r:.100}"
        )
        raise ConfigError(msg) from None


def joined(base: Mapping[str, Any], more: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return two configs, as they are given, as one: the second adds to the first."""
    found = {**base, **more, **_more(base, {key: more[key] for key in _MORE if key in more})}
    for key in ("metadata", "configurable"):
        if key in base and key in more:
            found[key] = {**_mapping(base, key), **_mapping(more, key)}
    return found


def _more(base: Mapping[str, Any], mine: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what both say about handlers: tags and callbacks of both, other things of the last."""
    found = {**base, **{key: value for key, value in mine.items() if value is not None}}
    callbacks = merged_callbacks(base.get("callbacks"), mine.get("callbacks"))
    tags = [*(base.get("tags") or ()), *(mine.get("tags") or ())]
    return {
        **found,
        **({"callbacks": callbacks} if callbacks else {}),
        **({"tags": tags} if tags else {}),
    }


def _count(key: str, value: Any, least: int) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        msg = f"{key} in a config is a whole number, at least {least}: {value!r:.100}"
        raise ConfigError(msg)
    return value


def _mapping(config: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return what the config holds under `key`, which is a mapping if it is there."""
    value = config.get(key)
    if value is not None and not isinstance(value, Mapping):
        msg = f"{key!r} in a config is a mapping, not {type(value).__name__}: {value!r:.100}"
        raise ConfigError(msg)
    return dict(value or {})
