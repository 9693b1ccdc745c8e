"""Doing the same to two threads, and what of them is compared.

Ids differ between the libraries, and objects have other classes; here both become plain data. What
is compared by name is a *field*: `ended`, `returned`, `stream updates`, `values`, `next`, `tasks`,
`history`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import langgraph.errors
from pydantic import BaseModel

import orchestrator
from tests.property.plans import BoomError, Brief

LIMIT = 9  # Supersteps of one call.
CONFIG = {"configurable": {"thread_id": "t"}}
ROOT = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
DURABILITIES = ("sync", "async", "exit")
MODES = ["updates", "values", "tasks", "custom"]
RECURSION = (orchestrator.GraphRecursionError, langgraph.errors.GraphRecursionError)
KINDS: dict[type[Exception], str] = {
    BoomError: "boom",
    orchestrator.EmptyInputError: "empty",
    langgraph.errors.EmptyInputError: "empty",
    **dict.fromkeys(RECURSION, "recursion"),
    orchestrator.InvalidUpdateError: "conflict",
    langgraph.errors.InvalidUpdateError: "conflict",
    UnboundLocalError: "empty",  # D11: what LangGraph raises for an empty command.
}
SEVERAL = "must specify the interrupt id"


@dataclass(frozen=True, repr=False)
class Do(Brief):
    """One thing done to both threads."""

    what: str  # input | resume | go | all | command | update | settle
    values: Any = None
    as_node: str | None = None
    goto: tuple[str, ...] = ()
    pick: int = 0  # Which question is answered.
    at: int | None = None  # How many checkpoints back it is done.
    via: str = "invoke"  # invoke | stream | deep
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Twin:
    """A thread in one of the libraries."""

    graph: Any
    library: Any
    extra: int = 0  # How many more supersteps a resumed call gets than it asks for.
    options: dict[str, Any] = field(default_factory=dict)
    concurrent: bool = False  # Whether steps run side by side; their order is luck then.

    def act(self, do: Do, before: dict[str, Any] | None) -> dict[str, Any]:
        """Do it; return how it ended, what it gave, and how the thread is now."""
        found: dict[str, Any] = {}
        config = self._config(do.at)
        ended = kind_of(lambda: found.update(self._act(do, before, config)))
        if self.concurrent:
            found |= {k: sorted(v, key=str) for k, v in found.items() if k.startswith("stream")}
        return {"ended": ended, **found, **self.view()}

    def _config(self, at: int | None) -> dict[str, Any]:
        if at is None:
            return CONFIG
        past = list(self.graph.get_state_history(CONFIG))
        return {**CONFIG, **past[at % len(past)].config} if past else CONFIG

    def _act(self, do: Do, before: Any, config: Any) -> dict[str, Any]:
        if do.what in {"update", "settle"}:
            self.graph.update_state(config, do.values, do.as_node)
            return {}
        asked = self.graph.get_state(CONFIG).interrupts
        command = self.library.Command
        if do.what == "command":
            given = {"update": do.values} if do.values is not None else {}
            value = command(**given, goto=list(do.goto))
        elif do.what == "input":
            value = do.values
        elif failed(before):
            value = None  # An answer runs the step that asked; LangGraph runs the failed one, too.
        elif do.what == "go" and asked:
            value = command(resume={asked[do.pick % len(asked)].id: f"yes{do.pick}"})
        elif do.what == "all" and asked:
            value = command(resume={i.id: f"all{n}" for n, i in enumerate(asked)})
        elif do.what == "one" and asked:
            value = command(resume=do.pick)
        else:
            value = None
        extra = 0 if do.what == "input" else max(0, self.extra - (do.at is not None))
        size = {} if self.concurrent else {"max_concurrency": 1}
        return self._call(do, value, {**config, **size, "recursion_limit": LIMIT - extra})

    def _call(self, do: Do, value: Any, config: Any) -> dict[str, Any]:
        options = {**self.options, **do.options}
        if do.via == "invoke":
            result = self.graph.invoke(value, config, **options)
            return {"returned": plain(result)}
        parts: list[Any] = []
        deep = do.via == "deep"
        stream = self.graph.stream(value, config, stream_mode=MODES, subgraphs=deep, **options)
        ended = kind_of(lambda: parts.extend(part if deep else ((), *part) for part in stream))
        found: dict[str, Any] = {
            f"stream {mode}": [(space_of(s), shape(m, d)) for s, m, d in parts if m == mode]
            for mode in MODES
        }
        return {**found, "stream order": [(space_of(s), m) for s, m, _ in parts], "ended": ended}

    def view(self) -> dict[str, Any]:
        """Return what the thread looks like from outside."""
        try:
            state = self.graph.get_state(CONFIG, subgraphs=True)
        except langgraph.errors.InvalidUpdateError:
            return {"poisoned": True}
        past = list(self.graph.get_state_history(CONFIG))
        ids = [name_of(s.config) for s in past]
        return {
            **view_of(state),
            "history": [
                (
                    plain(s.values),
                    sorted(s.next),
                    s.metadata["source"],
                    s.metadata["step"],
                    ids.index(name_of(s.parent_config)) if s.parent_config else None,
                    [(t.name, plain(t.result)) for t in s.tasks],
                )
                for s in past
            ],
            "saved": [saved(each) for each in self.graph.checkpointer.list(ROOT)],
        }


def saved(found: Any) -> dict[str, Any]:
    """Return what a saver shows of the channels of a checkpoint; of versions, their order."""
    checkpoint = found.checkpoint
    seen = dict(checkpoint["versions_seen"])
    versions = [checkpoint["channel_versions"], *seen.values()]
    every = sorted({number_of(v) for each in versions for v in each.values()})

    def places(of: Mapping[str, Any]) -> dict[str, int]:
        return {key: every.index(number_of(version)) for key, version in of.items()}

    return {
        "channels": places(checkpoint["channel_versions"]),
        "seen": {node: places(channels) for node, channels in seen.items()},
    }


def number_of(version: Any) -> int:
    """Return a version's number; LangGraph's savers add a random one to it."""
    return int(str(version).partition(".")[0])


def view_of(state: Any) -> dict[str, Any]:
    """Return a snapshot as plain data."""
    return {
        "values": plain(state.values),
        "next": list(state.next),
        "asked": [i.value for i in state.interrupts],
        "tasks": [
            (
                task.name,
                task.error is not None and task.result is None,
                [i.value for i in task.interrupts],
                plain(task.result),
                view_of(task.state)
                if hasattr(task.state, "values") and hasattr(task.state, "next")
                else None,
            )
            for task in state.tasks
        ],
    }


def failed(view: Mapping[str, Any] | None) -> bool:
    """Return whether a step of a thread has failed, or one in a subgraph."""
    return view is not None and any(task[1] or failed(task[4]) for task in view["tasks"])


def name_of(config: Mapping[str, Any]) -> str:
    """Return the id of the checkpoint that a config names."""
    return str(config["configurable"]["checkpoint_id"])


def space_of(space: tuple[str, ...]) -> str:
    """Return a namespace without ids."""
    return "|".join(part.partition(":")[0] for part in space)


def shape(mode: str, data: Any) -> Any:
    """Return a part of a stream as plain data."""
    if mode != "tasks":
        return plain(data)
    if "triggers" in data:
        return (
            "start",
            data["name"],
            plain(data["input"]),
            sorted(t.replace("|", "+") for t in data["triggers"]),
        )
    asked = [i["value"] for i in data["interrupts"]]
    return ("end", data["name"], bool(data["error"]), plain(data["result"]), asked)


def plain(value: Any) -> Any:
    """Return a value without what differs by library."""
    if isinstance(value, BaseModel):
        return {"<model>": plain(value.model_dump())}
    if type(value).__name__ == "Interrupt":
        return f"asks {value.value}"
    if type(value).__name__ == "Overwrite":
        return f"only {value.value}"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {"<data>": plain(vars(value))}
    if isinstance(value, Mapping):
        return {key: plain(held) for key, held in value.items()}
    return [plain(held) for held in value] if isinstance(value, (list, tuple)) else value


def kind_of(call: Callable[[], Any]) -> str:
    """Return how a call ends; an error that no graph here can raise goes through."""
    try:
        call()
    except tuple(KINDS) as error:
        return kind_of_error(error)
    except orchestrator.UnknownInterruptError:
        return "several"
    except RuntimeError as error:
        if SEVERAL in str(error):
            return "several"
        raise
    return "ok"


def kind_of_error(error: BaseException) -> str:
    return next(kind for cls, kind in KINDS.items() if isinstance(error, cls))
