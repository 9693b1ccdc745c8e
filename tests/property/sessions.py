"""Calls as users write them, done to a graph of either library, with all that comes of them.

In contrast to `views.Twin`, nothing is chosen for the caller: a call leaves out what it does not
name (the stream mode, the version, the thread id of a graph that keeps no threads), may be made by
any face of a graph, with any kind of thread id, and at any checkpoint of any depth.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler

from tests.property.plans import Brief
from tests.property.whole import Plain, error_of

LIMIT = 12


@dataclass(frozen=True, repr=False)
class Call(Brief):
    """One call, with only what its caller gave."""

    what: str  # input | answer | resume | update | bulk
    values: Any = None
    face: str = "invoke"  # invoke | stream | batch, and with an "a" before it.
    at: tuple[str, int] | None = None  # Where: a checkpoint of the "root", of a "sub", or "below".
    as_node: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)  # What invoke and stream are given.
    config: Mapping[str, Any] = field(default_factory=dict)  # What the config has besides.
    heard: bool = False  # Whether a handler listens.


class Listener(BaseCallbackHandler):
    """Keeps what it hears as trees of runs."""

    run_inline = True

    def __init__(self, names: Plain) -> None:
        self.names = names
        self.runs: dict[Any, dict[str, Any]] = {}

    def on_chain_start(self, serialized: Any, inputs: Any, **known: Any) -> None:
        self.runs[known["run_id"]] = {
            "name": known.get("name"),
            "tags": sorted(known.get("tags") or ()),
            "metadata": known.get("metadata"),
            "inputs": inputs,
            "parent": known.get("parent_run_id"),
            "serialized": serialized,
        }

    def on_chain_end(self, outputs: Any, **known: Any) -> None:
        self.runs[known["run_id"]] |= {"outputs": outputs, "end tags": sorted(known["tags"] or ())}

    def on_chain_error(self, error: BaseException, **known: Any) -> None:
        self.runs[known["run_id"]]["error"] = error_of(error)

    def trees(self, parent: Any = None) -> list[Any]:
        """Return the runs below one; those side by side by their names and steps."""
        found = []
        for key, run in self.runs.items():
            at = run["parent"] if run["parent"] in self.runs else None
            if at == parent:
                below = self.trees(key)
                found.append({**{k: v for k, v in run.items() if k != "parent"}, "below": below})
        return sorted(found, key=lambda run: (run["tags"], str(run["name"]), str(run["inputs"])))


@dataclass
class Session:
    """A thread of a graph in one library."""

    graph: Any
    library: Any
    thread_id: Any = "t"
    keeps: bool = True  # Whether there is a checkpointer.
    defaults: dict[str, Any] = field(default_factory=dict)  # Options of every call.
    names: Plain = field(default_factory=Plain)

    @property
    def config(self) -> dict[str, Any]:
        return {"configurable": {"thread_id": self.thread_id} if self.keeps else {}}

    def act(self, call: Call) -> dict[str, Any]:
        """Make the call; return all that can be seen of it and after it."""
        found: dict[str, Any] = {"ended": "ok"}
        listener = Listener(self.names)
        try:
            config = self._config(call)
            if call.heard:
                config["callbacks"] = [listener]
            self._act(call, config, found)
        except Exception as error:  # noqa: BLE001 - every error is compared
            found["ended"] = error_of(error)
            found["_error"] = error
        found["heard"] = listener.trees()
        if self.keeps:
            found |= self.view()
        first = ("past", "now", "now deep")  # They say which ids are which.
        in_order = {key: found[key] for key in (*first, *found) if key in found and key[0] != "_"}
        kept = {key: self.names.plain(value) for key, value in in_order.items()}
        return {**kept, "_error": found.get("_error")}

    def view(self) -> dict[str, Any]:
        """Return the thread as it is now, and how it came there."""
        try:
            flat, deep = (
                self.graph.get_state(self.config),
                self.graph.get_state(self.config, subgraphs=True),
            )
            past = list(self.graph.get_state_history(self.config))
        except Exception as error:  # noqa: BLE001
            return {"now": error}
        times = [snapshot.created_at for snapshot in past]
        return {
            "past": past[::-1],
            "now": flat,
            "now deep": deep,
            "in order": times == sorted({*times}, reverse=True),
        }

    def _config(self, call: Call) -> dict[str, Any]:
        base = {**self.config, "recursion_limit": LIMIT, "max_concurrency": 1}
        if call.at is not None:
            base |= self.place(*call.at)
        for key, value in call.config.items():
            base[key] = {**base.get(key, {}), **value} if isinstance(value, Mapping) else value
        return base

    def places(self) -> dict[str, list[Any]]:
        """Return the configs of all checkpoints: of the root, of subgraphs now, and before."""
        root = [s.config for s in self.graph.get_state_history(self.config)]
        subs: list[Any] = []
        todo = [self.graph.get_state(self.config, subgraphs=True)]
        while todo:
            states = [task.state for task in todo.pop(0).tasks]
            below = [s for s in states if hasattr(s, "values") and s.config and s.created_at]
            subs += [s.config for s in below]
            todo += below
        past = [s.config for c in subs for s in list(self.graph.get_state_history(_of(c)))]
        return {"root": root, "sub": subs, "below": past}

    def place(self, kind: str, number: int) -> Any:
        """Return the config of a checkpoint; the head of the thread is not one."""
        found = self.places()[kind]
        found = found[1:] if kind == "root" else found
        return found[number % len(found)] if found else self.config

    def _act(self, call: Call, config: Any, found: dict[str, Any]) -> None:
        if call.what == "update":
            as_node = {} if call.as_node is None else {"as_node": call.as_node}
            found["config"] = (
                asyncio.run(self.graph.aupdate_state(config, call.values, **as_node))
                if call.face[0] == "a"
                else self.graph.update_state(config, call.values, **as_node)
            )
        elif call.what == "bulk":
            steps = [
                [self.library.StateUpdate(*each) for each in together] for together in call.values
            ]
            found["config"] = self.graph.bulk_update_state(config, steps)
        else:
            options = {**self.defaults, **call.options}
            self._call(call.face, self._value(call), config, options, found)

    def _value(self, call: Call) -> Any:
        if call.what == "input":
            return call.values
        if call.what == "command":
            return self.library.Command(**call.values)
        asked = self.graph.get_state(self.config).interrupts if call.what == "answer" else ()
        if call.at is not None and call.at[0] != "sub":
            asked = ()  # What was asked there is asked again first.
        if len(asked) == 1:
            return self.library.Command(resume=f"yes {asked[0].value}")
        if asked:
            return self.library.Command(resume={i.id: f"yes {i.value}" for i in asked})
        return None

    def _call(self, face: str, value: Any, config: Any, options: Any, found: Any) -> None:
        match face:
            case "invoke":
                found["returned"] = self.graph.invoke(value, config, **options)
            case "ainvoke":
                found["returned"] = asyncio.run(self.graph.ainvoke(value, config, **options))
            case "batch":
                found["returned"] = self.graph.batch([value], [config], **options)
            case "abatch":
                found["returned"] = asyncio.run(self.graph.abatch([value], [config], **options))
            case "stream":
                parts = found["parts"] = []
                for part in self.graph.stream(value, config, **options):
                    parts.append(part)  # noqa: PERF402 - what came before an error is kept
            case "astream":
                asyncio.run(_drained(self.graph.astream(value, config, **options), found))


async def _drained(stream: Any, found: dict[str, Any]) -> None:
    parts = found["parts"] = []
    async for part in stream:
        parts.append(part)  # noqa: PERF401 - what came before an error is kept


def _of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config of a thread, or of a subgraph's, without a checkpoint."""
    held = config["configurable"]
    return {"configurable": {k: held[k] for k in ("thread_id", "checkpoint_ns") if k in held}}
