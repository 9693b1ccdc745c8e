"""What a process that runs nodes holds: its name, its store, its graphs. Made once per process.

A forked pool process makes its own: connections, caches and names are not shared with its parent.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.client.children import Children
from orchestrator.client.compiled import CompiledStateGraph
from orchestrator.config import Settings
from orchestrator.errors import StateCorruptedError
from orchestrator.execute.dispatch import Dispatch, dispatcher, open_store
from orchestrator.ids import check_stored_thread_id
from orchestrator.step.access import Access, new_owner
from orchestrator.step.live import Live
from orchestrator.step.protocol import SETTLED, StepProtocol, defer_step
from orchestrator.step.report import Report
from workers.registry import Registry, configured

__all__ = ["RUN_FOLDER_VARIABLE", "TEMPLATE_VARIABLE", "Runtime", "registry", "runtime"]

RUN_FOLDER_VARIABLE = "GRAPHSTALK_RUN_FOLDER"  # Where processes tell their keeper that they exist.
TEMPLATE_VARIABLE = "GRAPHSTALK_MESSAGE_TEMPLATE"  # Rendered once by the parent of a pool.
_ANSWER_S = (
    2.5  # Then it is asked again, which is safe; a step shall not wait for a dead connection.
)

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Runtime:
    """Does steps for one process."""

    access: Access
    graphs: Mapping[str, CompiledStateGraph]
    queue: str
    dispatch: Dispatch
    pushes: bool
    protocols: dict[str, StepProtocol | None] = field(default_factory=dict)
    deferred: set[str] = field(default_factory=set)  # Reasons that were logged already.

    def run(self, thread_id: str, step_id: str, sent_ms: int) -> None:
        """Do a step if it is ready, and send what it made ready."""
        try:
            report = self._run(check_stored_thread_id(thread_id), step_id, sent_ms)
        except SystemExit as exit_:
            if type(exit_) is not SystemExit:
                raise  # Celery's own, by which it ends this process.
            # A node's: it would end the worker (solo), or one of its slots for good (threads).
            _log.exception("a node asked to end the process: %s %s", thread_id, step_id)
            return
        except StateCorruptedError as error:
            self._say(str(error))
            return
        if report.ready and not self.pushes:
            self.dispatch(report.ready)

    def _run(self, thread_id: str, step_id: str, sent_ms: int) -> Report:
        claim, known = self.access.claim(thread_id, step_id, sent_ms)
        if claim.refused in SETTLED:
            return self._advance(thread_id)
        if claim.refused is not None or claim.step is None:
            return Report(refused=claim.refused)
        protocol = self._protocol(claim.step.graph)
        if protocol is None:
            known_graphs = ", ".join(sorted(self.graphs)) or "none"
            reason = (
                f"no graph {claim.step.graph!r} on the worker {self.access.owner}; "
                f"it knows: {known_graphs}. Configure the graph (--graphs), or use another queue"
            )
            self._say(reason)
            return defer_step(self.access, claim, reason)
        return protocol.run_claimed(claim, known)

    def _protocol(self, name: str) -> StepProtocol | None:
        """Return how to do the steps of a graph: `graph`, or `graph|node` for a subgraph."""
        if name not in self.protocols:
            self.protocols[name] = self._made(name)
        return self.protocols[name]

    def _made(self, name: str) -> StepProtocol | None:
        root, *nodes = name.split("|")
        graph = self.graphs.get(root)
        store, cache = (graph.store, graph.cache) if graph else (None, None)
        for node in nodes:
            graph = dict(graph.direct_subgraphs()).get(node) if graph else None
            if graph is not None:
                store, cache = graph.store or store, graph.cache or cache
        if graph is None:
            return None
        live = Live(store=store, cache=cache, children=Children())
        return StepProtocol(graph.spec, graph.records, self.access, self.queue, live)

    def _advance(self, thread_id: str) -> Report:
        """Advance a thread whose superstep may be done, though nobody did it. (INV-7)"""
        loaded = self.access.load(thread_id)
        protocol = self._protocol(loaded.head.graph) if loaded else None
        return protocol.advance(thread_id) if protocol else Report()

    def _say(self, reason: str) -> None:
        if reason not in self.deferred:
            self.deferred.add(reason)
            _log.error("a step waits: %s", reason)


_lock = threading.Lock()
_registries: list[Registry] = []  # Loaded before a pool forks, so that its processes share it.
_runtimes: dict[int, Runtime] = {}  # By process id: a fork's copy is not its own.


def registry() -> Registry:
    """Return the graphs of this process, loading them at the first call.

    Raises:
        ConfigurationError: if one cannot be loaded.
    """
    if not _registries:
        _registries.append(Registry(configured()))
    return _registries[0]


def runtime() -> Runtime:
    """Return this process's runtime, made at the first call."""
    made = _runtimes.get(os.getpid())
    if made is not None:
        return made
    with _lock:
        if os.getpid() not in _runtimes:
            _runtimes[os.getpid()] = _make()
        return _runtimes[os.getpid()]


def _make() -> Runtime:
    settings = Settings.from_env()
    template = os.environ.get(TEMPLATE_VARIABLE)
    store = open_store(settings, template, answer_s=_ANSWER_S)
    access = Access(store, new_owner(), attempts_max=float("inf"))
    _register(access.owner)
    return Runtime(access, registry(), settings.queue, dispatcher(store, settings), store.pushes)


def _register(owner: str) -> None:
    """Tell the keeper of this worker that this process holds leases."""
    folder = os.environ.get(RUN_FOLDER_VARIABLE)
    if folder:
        path = Path(folder, str(os.getpid()))
        draft = path.with_suffix(".new")
        draft.write_text(owner, "utf-8")
        draft.rename(path)  # A file without suffix is complete.
