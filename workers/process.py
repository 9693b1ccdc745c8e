"""The state of a process that runs steps: its name, its store, its graphs. Made once a process.

A forked pool process makes its own: connections, caches and names are not shared with its parent.

Python cannot end an OS thread. Native code of a node that does not return after its time limit may
keep a core or memory for as long as its process lives: (`step/timing.py`)

Rule 1: it has a grace after its time limit (`GRAPHSTALK_STUCK_S`); then it is logged, once.
Rule 2: a pool process is then replaced when it runs no step: it begins no other, and exits with
        the code by which Celery recycles. No step is interrupted, so none is to blame. (INV-4)
Rule 3: where nodes run in the worker's own process (threads, solo), it is only logged.
"""

from __future__ import annotations

import gc
import logging
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import billiard.pool
import billiard.process
import psutil

from orchestrator.client.graph import CompiledStateGraph
from orchestrator.client.graph_base import GraphBase
from orchestrator.client.subgraphs import step_runner, surroundings
from orchestrator.config import Settings
from orchestrator.dispatch.broker import Dispatch, Inbox, dispatcher, open_store
from orchestrator.errors import GraphstalkError, StateCorruptedError
from orchestrator.graph.spec import DispatchMode
from orchestrator.ids import check_stored_thread_id
from orchestrator.model.checkpoint import RunStatus
from orchestrator.model.commit import Claim, ReadyStep, Refusal
from orchestrator.step.recovery import record_takeover
from orchestrator.step.report import Report
from orchestrator.step.runner import StepRunner, run_step
from orchestrator.step.store_access import Access, new_owner
from orchestrator.step.timeout import Leftover, leftovers
from workers.configuration import LoadedGraphs, configured
from workers.lease_check import BusyFile, busy_path

__all__ = [
    "RUN_FOLDER_VARIABLE",
    "TEMPLATE_VARIABLE",
    "Stuck",
    "WorkerProcess",
    "loaded_graphs",
    "mark_stopping",
    "worker_process",
]

RUN_FOLDER_VARIABLE = "GRAPHSTALK_RUN_FOLDER"  # Where processes register for their keeper.
TEMPLATE_VARIABLE = "GRAPHSTALK_MESSAGE_TEMPLATE"  # Rendered once by the parent of a pool.
_ANSWER_S = (
    2.5  # Then the call is repeated, which is safe; a step must not wait for a dead connection.
)
_POLL_MS = 5.0  # Between two checks for a request to stop.

_log = logging.getLogger(__name__)

InPlace = Callable[[ReadyStep, float, float, Report], None]


def _never() -> bool:
    return False


class _Slice(threading.local):
    """Until when steps are done in place, and which one is, by the OS thread."""

    end_ms = 0.0
    step: ReadyStep | None = None
    began_ms = 0.0


@dataclass(slots=True)
class WorkerProcess:
    """Does steps for one process."""

    access: Access
    graphs: Mapping[str, CompiledStateGraph]
    queue: str
    dispatch: Dispatch
    pushes: bool
    slice_ms: float = 0.0  # How long it continues in place.
    dispatch_default: DispatchMode = "queue"  # Of graphs and nodes that set none.
    inbox: Inbox | None = None  # Of the broker, if a process can accept messages itself.
    stops: Callable[[], bool] = _never  # Whether the worker got a request to stop.
    busy: BusyFile = field(default_factory=BusyFile)  # Read by the keeper's lease check.
    runners: dict[str, StepRunner | None] = field(default_factory=dict)
    deferred: set[str] = field(default_factory=set)  # Reasons that were logged already.
    is_retiring: bool = False  # It begins no other step: it is about to be replaced.
    _poll_ms: float = 0.0  # When to check again for a request to stop.
    _is_stopping: bool = False  # By the last check.
    _slice: _Slice = field(default_factory=_Slice)
    _took_ms: dict[str, float] = field(default_factory=dict)  # How long a node took, last time.

    def run(
        self, thread_id: str, step_id: str, sent_ms: int, report_step: InPlace = lambda *_: None
    ) -> Report:
        """Do a step if it is ready, continue in place for a slice, and send what is ready then.

        Args:
            thread_id: the thread.
            step_id: the step.
            sent_ms: when the message was sent, by the store's clock; 0 if that is not known.
            report_step: called for each step that was done in place: the step, when it began, in
                seconds since the epoch, how many it took, and its report.

        Returns:
            the report of the first step.
        """
        self._slice.end_ms = self.access.clock.monotonic_ms() + self.slice_ms
        return self._do(thread_id, step_id, sent_ms, None, report_step)

    def retire(self) -> None:
        """Begin no other step."""
        self.is_retiring = True

    def is_cancelled(self, thread_id: str) -> bool:
        """Return whether the run of a thread was cancelled; `False` while the store is away."""
        try:
            loaded = self.access.checkpointer.load(thread_id, values=False)
        except GraphstalkError:
            return False
        return loaded is not None and loaded.head.status is RunStatus.CANCELLED

    def run_waiting(self, queue: str, report_step: InPlace) -> None:
        """Do what waits in a queue, one message after the other, for the rest of the slice.

        A message that this process accepts itself costs a fraction of one that gets to it through
        the worker's main process. It is that of any thread, in the order of the queue. Only steps
        of nodes that were quick here are accepted so: others are for Celery, which shows in Flower
        that they run.
        """
        while self.inbox is not None and self._has_time():
            message = self.inbox.take(queue, self._is_quick)
            if message is None:
                return
            self._do(message.thread, message.step, message.sent_ms, report_step, report_step)

    def _do(
        self,
        thread_id: str,
        step_id: str,
        sent_ms: int,
        report_first: InPlace | None,
        report_step: InPlace,
    ) -> Report:
        """Do a step and those in place after it; return the report of the first one."""
        if self.is_retiring:
            threading.Event().wait()  # The process ends; the message is sent again.
        place = self.busy.begin(thread_id)
        first = Report()
        try:
            checked = check_stored_thread_id(thread_id)
            report = first = self._timed(checked, step_id, report_first, sent_ms)
            while report.claim is not None:
                step = report.claim.step
                assert step is not None
                report = self._timed(step.thread_id, step.step_id, report_step, ready=report)
        except SystemExit as exit_:
            if type(exit_) is not SystemExit:
                raise  # Celery's own, by which it ends this process.
            # A node's: it would end the worker (solo), or one of its slots for good (threads).
            _log.exception("a node asked to end the process: %s %s", thread_id, step_id)
        except StateCorruptedError as error:
            self._say(str(error))
        else:
            if report.ready and not self.pushes:
                self.dispatch(report.ready)
            if report.due:
                self.dispatch(report.due)
        finally:
            self.busy.end(place)
        return first

    def runner_for(self, claim: Claim) -> tuple[StepRunner | None, str]:
        """Return the runner of a claimed step's graph; the reason if this process has none."""
        step = claim.step
        assert step is not None
        runner = self._runner(step.graph)
        if runner is None:
            known_graphs = ", ".join(sorted(self.graphs)) or "none"
            reason = (
                f"no graph {step.graph!r} on the worker {self.access.owner}; "
                f"it knows: {known_graphs}. Configure the graph (--graphs), or use another queue"
            )
            self._say(reason)
            return None, reason
        if claim.reason:  # As after the death of a worker.
            record_takeover(self.access, claim)
        self._slice.step, self._slice.began_ms = step, self.access.clock.monotonic_ms()
        return runner.runner_for(claim)

    def settled(self, thread_id: str, refusal: Refusal) -> Report:
        """Advance a thread whose superstep may be complete: its process may have died. (INV-7)"""
        del refusal  # The step has completed: its message counts as done.
        loaded = self.access.load(thread_id)
        runner = self._runner(loaded.head.graph) if loaded else None
        return runner.advance(thread_id) if runner else Report()

    def _timed(
        self,
        thread_id: str,
        step_id: str,
        report_step: InPlace | None,
        sent_ms: int = 0,
        ready: Report | None = None,
    ) -> Report:
        """Do a step; remember how long it took, and report it unless another process did it."""
        self._slice.step, clock = None, self.access.clock
        report = run_step(self, thread_id, step_id, sent_ms, ready)
        step = self._slice.step
        if step is None:
            return report
        took_ms = self._took_ms[step.shadow] = clock.monotonic_ms() - self._slice.began_ms
        if report_step is not None and (
            report.refused is None or self.is_cancelled(step.thread_id)
        ):
            began_s = (clock.now_ms() - took_ms) / 1000
            report_step(step, began_s, took_ms / 1000, report)
        return report

    def _may_continue(self, step: ReadyStep) -> bool:
        """Whether to do a step at once: there is time, and its node was not slow."""
        return self._has_time() and self._took_ms.get(step.shadow, 0.0) < self.slice_ms

    def _has_time(self) -> bool:
        """Whether the slice lasts, and no request to stop is known."""
        now_ms = self.access.clock.monotonic_ms()
        if now_ms >= self._slice.end_ms or self.is_retiring:
            return False
        if now_ms >= self._poll_ms:  # A check of the file at each step would cost too much.
            self._poll_ms, self._is_stopping = now_ms + _POLL_MS, self.stops()
        return not self._is_stopping

    def _is_quick(self, shadow: str) -> bool:
        return self._took_ms.get(shadow, self.slice_ms) < self.slice_ms

    def _runner(self, name: str) -> StepRunner | None:
        """Return how to do the steps of a graph: `graph`, or `graph|node` for a subgraph."""
        if name not in self.runners:
            self.runners[name] = self._made(name)
        return self.runners[name]

    def _made(self, name: str) -> StepRunner | None:
        root, *nodes = name.split("|")
        graph: GraphBase | None = self.graphs.get(root)
        queue, around = self.queue, None
        for node in nodes:
            if graph is None:
                break
            queue, around = graph.spec.queue or queue, surroundings(graph, around)
            graph = dict(graph.direct_subgraphs()).get(node)
        if graph is None:
            return None
        return step_runner(
            graph,
            self.access,
            queue,
            surroundings(graph, around),
            dispatch=self.dispatch_default,
            in_place=self._may_continue,
        )

    def _say(self, reason: str) -> None:
        if reason not in self.deferred:
            self.deferred.add(reason)
            _log.error("a step waits: %s", reason)


_lock = threading.Lock()
_loaded: list[LoadedGraphs] = []  # Loaded before a pool forks, so that its processes share it.
_processes: dict[int, WorkerProcess] = {}  # By process id: a fork's copy is not its own.


def loaded_graphs() -> LoadedGraphs:
    """Return the graphs of this process, loading them at the first call.

    Raises:
        ConfigurationError: if one cannot be loaded.
    """
    if not _loaded:
        _loaded.append(LoadedGraphs(configured()))
    return _loaded[0]


def worker_process() -> WorkerProcess:
    """Return this process's runtime, made at the first call."""
    made = _processes.get(os.getpid())
    if made is not None:
        return made
    with _lock:
        if os.getpid() not in _processes:
            _processes[os.getpid()] = _make()
        return _processes[os.getpid()]


def _make() -> WorkerProcess:
    settings = Settings.from_env()
    template = os.environ.get(TEMPLATE_VARIABLE)
    store = open_store(settings, template, answer_s=_ANSWER_S)
    owner = new_owner()
    lost = partial(store.fleet.lost, owner)
    access = Access(store, owner, attempts_max=float("inf"), finds_lost=lost)
    gc.freeze()  # What exists now stays: no collection need scan it again.
    dispatch = partial(store.push, again=False) if store.pushes else dispatcher(store, settings)
    made = WorkerProcess(
        access,
        loaded_graphs(),
        settings.queue,
        dispatch,
        store.pushes,
        slice_ms=settings.slice_ms,
        dispatch_default=settings.dispatch,
        inbox=Inbox(store) if store.pushes else None,
        stops=_stop_marker().exists,
        busy=_register(owner),
    )
    stuck = Stuck(made.busy, settings.stuck_s, made.retire)
    threading.Thread(target=stuck.loop, name="stuck", daemon=True).start()
    return made


def mark_stopping() -> None:
    """Mark for all processes of this worker that it got a request to stop."""
    with suppress(OSError):  # Without its folder there are none.
        _stop_marker().touch()


def _stop_marker() -> Path:
    return Path(os.environ.get(RUN_FOLDER_VARIABLE, os.devnull), "stopping")


def _register(owner: str) -> BusyFile:
    """Register this process, which holds leases, with the keeper of its worker."""
    folder = os.environ.get(RUN_FOLDER_VARIABLE)
    if not folder:
        return BusyFile()
    path = Path(folder, str(os.getpid()))
    busy = BusyFile(busy_path(path.parent, os.getpid()))
    draft = path.with_suffix(".new")
    draft.write_text(owner, "utf-8")
    draft.rename(path)  # A file without suffix is complete.
    return busy


# ---- nodes that do not end ------------------------------------------------------------------

_POLL_S = 1.0
_PAUSE_S = 0.2  # So long Celery's main process may take to read the result of the last step.


class Stuck:
    """Reports what this process cannot end, and ends the process."""

    def __init__(self, busy: BusyFile, grace_s: float, retire: Callable[[], None]) -> None:
        """Begin with nothing.

        Args:
            busy: what the process is busy with.
            grace_s: how long a node may continue after its time limit.
            retire: lets the process begin no other step.
        """
        self._busy, self._grace_s, self._retire = busy, grace_s, retire
        self._seen: set[threading.Thread] = set()

    def loop(self) -> None:
        """Poll until the process ends."""
        pause = threading.Event()
        while not pause.wait(min(_POLL_S, self._grace_s)):
            new = [one for one in leftovers(self._grace_s) if one.thread not in self._seen]
            for one in new:
                self._seen.add(one.thread)
                self._report(one, pause)
            if new and _is_pool_process():
                self._retire()
                while pause.wait(_PAUSE_S) or not self._busy.is_idle:
                    continue
                os._exit(billiard.pool.EX_RECYCLE)

    def _report(self, one: Leftover, pause: threading.Event) -> None:
        before = _cpu_s(one.thread)
        pause.wait(_PAUSE_S)
        share = (_cpu_s(one.thread) - before) / _PAUSE_S
        then = (
            "its process is replaced when it runs no step"
            if _is_pool_process()
            else "restart the worker to end it, or use --pool prefork, which replaces processes"
        )
        _log.error(
            "node %r still runs %.0f s after its time limit, in code that cannot be stopped, and "
            "uses %.0f %% of a core; %s",
            one.node,
            one.over_s,
            share * 100,
            then,
        )


def _is_pool_process() -> bool:
    return bool(billiard.process.current_process()._name != "MainProcess")  # noqa: SLF001 - no accessor


def _cpu_s(thread: threading.Thread) -> float:
    """Return how long a thread has computed."""
    times = {one.id: one.user_time + one.system_time for one in psutil.Process().threads()}
    return times.get(thread.native_id or 0, 0.0)
