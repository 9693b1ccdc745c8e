"""The host of a step's code: tasks, recorded effects and subgraphs inside a step.

Their results are noted with the step under its claim, so that another attempt finds them: it runs
the node again from its beginning, and what was noted is returned, not repeated. (INV-4, INV-5)
"""

from __future__ import annotations

import asyncio
import inspect
import random
import threading
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import CancelledError, Future, InvalidStateError
from contextlib import suppress
from contextvars import copy_context
from dataclasses import replace
from functools import partial
from typing import Any

from orchestrator.engine.settle import note
from orchestrator.errors import GraphBubbleUp, GraphDrained, GraphInterrupt, NodeInterrupt
from orchestrator.graph.policy import delay_after
from orchestrator.graph.scope import Runtime, Scope, Scratchpad, TaskCall
from orchestrator.ids import short_hash
from orchestrator.integrations.langchain import task_run
from orchestrator.model.checkpoint import Interrupt
from orchestrator.model.commit import EventDraft
from orchestrator.model.events import TaskCompleted
from orchestrator.step.async_loop import Cancelled, CancelScope, callers_loop, cancel_scope
from orchestrator.step.claimed_step import ClaimedStep
from orchestrator.step.facts import Fact, TaskDone, TaskStarted
from orchestrator.step.invoke import finish
from orchestrator.step.node_cache import Cached
from orchestrator.step.suspend import Asleep, ChildPaused, ClaimLost, StepWaits
from orchestrator.step.timeout import Watch

__all__ = ["StepHost", "TaskFuture"]


class StepHost:
    """The host of one attempt at a step, or of a task inside it."""

    def __init__(self, attempt: ClaimedStep, name: str = "", children: int = 0) -> None:
        self.attempt, self._name = attempt, name
        self._calls = 0
        self._children = children
        self._running: list[TaskFuture] = []
        self._asked: list[Interrupt] = []  # By subgraphs that the code called.
        self._ended: GraphBubbleUp | None = None  # What else ends the step, once it was raised.

    # ---- notes ------------------------------------------------------------------------------

    def noted(self, name: str) -> bytes | None:
        """Return what this or an earlier attempt has noted under a name."""
        return self.attempt.notes.get(name)

    def note(self, name: str, value: bytes, event: EventDraft | None = None) -> None:
        """Note a value with the step, durably, before anything else happens.

        Raises:
            ClaimLost: if another process has the step now.
        """
        step, fence = self.attempt.step, self.attempt.claim.fence
        commit = note(step, fence, {name: value}, event)
        refused = self.attempt.services.access.commit(commit).refused
        if refused is not None:
            raise ClaimLost(refused)
        self.attempt.notes[name] = value

    def drawn(self, kind: str, draw: Callable[[], Any]) -> Any:
        """Return what `draw` returned in the first attempt that came here."""
        records = self.attempt.services.records
        name = f"{kind}:{self._count()}"
        found = self.noted(name)
        if found is None:
            found = records.encode(draw())
            self.note(name, found)
        return records.decode(found)

    def sleep(self, seconds: float) -> None:
        """Return if the time has come; else let the step wait until then.

        Raises:
            Asleep: if it has not.
        """
        name = f"sleep:{self._count()}"
        found, now = self.noted(name), self.attempt.now_ms()
        due = now + round(seconds * 1000) if found is None else int(found)
        if due > now:
            self._ended = Asleep(due - now, {} if found else {name: str(due).encode()})
            raise self._ended

    def _count(self) -> str:
        self._calls += 1
        return f"{self._name}{self._calls}"

    # ---- subgraphs ----------------------------------------------------------------------------

    def next_child(self) -> int:
        """Return the number of the next subgraph run: the same in every attempt."""
        self._children += 1
        return self._children - 1

    def run_child(self, graph: Any, value: Any, config: Mapping[str, Any]) -> Any:
        """Run a subgraph as part of the step; see `ChildRunner`.

        What it asks, and that it waits, pauses or was drained, is remembered: code that catches
        what this raises does not undo it.
        """
        children = self.attempt.services.live.children
        assert children is not None, "a process that runs graphs knows how to run subgraphs"
        try:
            return children.run(self.attempt, graph, value, config)
        except GraphInterrupt as asked:
            self._asked += asked.interrupts
            raise
        except (StepWaits, ChildPaused, GraphDrained) as ended:
            self._ended = self._ended or ended
            raise

    def in_event_loop(self) -> bool:
        """Return whether the run was begun from an event loop, where its coroutines run."""
        return callers_loop.get() is not None

    # ---- tasks --------------------------------------------------------------------------------

    def call(self, call: TaskCall) -> TaskFuture:
        """Begin a task in an OS thread of its own; what an earlier attempt had is there at once."""
        name = f"task:{self._count()}:{call.name}"
        records = self.attempt.services.records
        found = self.noted(name)
        if found is not None:
            future = TaskFuture()
            _Task(self, call, name, future).emit_start()
            future.set_result(records.decode(found))
            return future
        scope = CancelScope(cancel_scope.get())
        future = TaskFuture(scope if inspect.iscoroutinefunction(call.function) else None)
        self._running.append(future)
        task, context = _Task(self, call, name, future), copy_context()
        future.run_in(
            threading.Thread(
                target=context.run, args=(task.run, scope), name="graphstalk-task", daemon=True
            )
        )
        return future

    # ---- questions ----------------------------------------------------------------------------

    def guarded(self, scratchpad: Scratchpad, code: Callable[[], Any]) -> Any:
        """Return what code returns, unless it asked something, whatever it did with the exception.

        Raises:
            GraphInterrupt: if the code, its tasks or the subgraphs that it called ask something.
            BaseException: whatever else the code raises.
        """
        try:
            result = code()
        except NodeInterrupt as asked:
            scratchpad.open.append(scratchpad.pose(asked.value, asked.id))
            raise GraphInterrupt(self.questions(scratchpad)) from None
        except GraphInterrupt as asked:
            known = {i.id: i for i in (*scratchpad.open, *asked.interrupts, *self.settle())}
            raise GraphInterrupt(tuple(known.values())) from None
        except StepWaits:
            self.settle()  # What has begun beside it is to be noted.
            raise
        except GraphBubbleUp:
            raise
        except Exception:
            if scratchpad.open or self._asked:  # It comes from the question that was not answered.
                raise GraphInterrupt(self.questions(scratchpad)) from None
            raise
        if scratchpad.open or self._running or self._asked or self._ended:
            self.check_asked(scratchpad)
        return result

    def check_asked(self, scratchpad: Scratchpad) -> None:
        """Refuse to continue after code that asked something, or that was to end otherwise.

        Raises:
            GraphInterrupt: if the code, its tasks or the subgraphs that it called ask something.
            GraphBubbleUp: if one of them ends the step otherwise.
        """
        if not (scratchpad.open or self._running or self._asked or self._ended):
            return
        questions = self.questions(scratchpad)
        if questions:
            raise GraphInterrupt(questions)

    def questions(self, scratchpad: Scratchpad) -> tuple[Interrupt, ...]:
        """Return what the code, its tasks and the subgraphs that it called ask."""
        known = {i.id: i for i in (*scratchpad.open, *self.settle())}
        return tuple(known.values())

    def settle(self) -> tuple[Interrupt, ...]:
        """Wait for the tasks that were begun; return what they and called subgraphs ask.

        Raises:
            GraphBubbleUp: if one of them ends the step otherwise, whether code caught that or not.
            Cancelled: if the scope of the step was cancelled.
        """
        asked, ended = list(self._asked), self._ended
        for future in self._running:
            error = future.settle()
            if isinstance(error, (ClaimLost, Cancelled)):
                raise error
            if isinstance(error, GraphInterrupt):
                asked += error.interrupts
            elif isinstance(error, (StepWaits, ChildPaused, GraphDrained)):
                ended = ended or error
        if ended is not None and not asked:
            raise ended
        return tuple({question.id: question for question in asked}.values())


class _Task:
    """One run of a task."""

    def __init__(self, host: StepHost, call: TaskCall, name: str, future: TaskFuture) -> None:
        self.host, self.call, self.name, self.future = host, call, name, future
        self.attempt = host.attempt
        self.id = short_hash(self.attempt.step.step_id, name)

    def emit_start(self) -> None:
        """Emit that the task begins, or began in an earlier attempt."""
        self._emit(TaskStarted, input=(self.call.args, dict(self.call.kwargs)))

    def run(self, scope: CancelScope) -> None:
        """Run to the end of attempts; the future gets the result, or what was raised."""
        with suppress(InvalidStateError):  # It was cancelled meanwhile.
            try:
                with scope.entered():
                    result = self._result()
            except BaseException as error:  # noqa: BLE001 - raised where the future is waited for
                self.future.set_exception(error)
            else:
                self.future.set_result(result)

    def _result(self) -> Any:
        call, emit = self.call, self._emit
        self.emit_start()
        cached = Cached.of_task(self.attempt.services, call)
        found = cached.get() if cached else None
        try:
            result = found.value if found else self._tried()
        except GraphInterrupt as asked:
            emit(TaskDone, interrupts=asked.interrupts)
            raise
        except Exception as error:
            emit(TaskDone, error=repr(error))
            raise
        if cached and not found:
            cached.put(result)
        records = self.attempt.services.records
        data = records.check(f"the result of the task {call.name!r}", result)
        self.host.note(self.name, data, self._event(data))
        emit(TaskDone, result=result, cached=found is not None)
        return records.decode(data)

    def _event(self, data: bytes) -> EventDraft | None:
        """Return what readers of the thread's log see, where a fleet runs the step."""
        step = self.attempt.step
        if not step.queue and not self.attempt.services.live.logs:
            return None
        return TaskCompleted(
            step=step.step_id, number=step.number, name=self.call.name, id=self.id, data=data
        ).draft()

    def _emit(self, kind: type[Fact], **fields: Any) -> None:
        number = self.attempt.step.number
        self.attempt.emit(kind, number=number, id=self.id, name=self.call.name, **fields)

    def _tried(self) -> Any:
        """Return the result of the first attempt that has one."""
        # Tasks without a policy use that of their entrypoint, as in LangGraph.
        retry = self.call.retry or self.attempt.services.spec.start.options.retry
        failures, began_s = 0, self.attempt.now_ms() / 1000
        while True:
            try:
                return self._once(failures + 1, began_s)
            except GraphBubbleUp:
                raise
            except Exception as error:
                failures += 1
                delay_s = delay_after(retry, error, failures, random.uniform(0, 1))  # noqa: S311
                if delay_s is None:
                    raise
                self.attempt.services.access.clock.sleep(delay_s)

    def _once(self, number: int, began_s: float) -> Any:
        """Return the result of an attempt; `began_s` is when the first one began."""
        outer, call = self.attempt.scope, self.call
        scratchpad = Scratchpad(
            short_hash(outer.scratchpad.seed, self.name),
            outer.scratchpad.answers,
            fit=outer.scratchpad.fit,
        )
        host = StepHost(self.attempt, f"{self.name}/")
        watch = Watch(call.timeout) if call.timeout else None

        def runtime() -> Runtime[Any]:
            own = outer.runtime.patch_execution_info(
                node_attempt=number, node_first_attempt_time=began_s
            )
            return replace(own, heartbeat=watch.heartbeat) if watch else own

        scope = Scope(
            scratchpad=scratchpad,
            make_config=lambda: outer.config,
            make_runtime=runtime,
            host=host,
        )

        def body() -> Any:
            with task_run(self.attempt, scope, call, self.id) as run:
                run.result = run.returned(finish(call.function(*call.args, **call.kwargs)))
            return run.result

        return host.guarded(scratchpad, partial(watch.run, call.name, body) if watch else body)


class TaskFuture(Future[Any]):
    """What calling a `@task` gives; also awaitable, in any event loop."""

    def __init__(self, scope: CancelScope | None = None) -> None:
        super().__init__()
        self._scope = scope
        self._thread: threading.Thread | None = None

    def __await__(self) -> Generator[Any, None, Any]:
        """Wait without blocking the event loop."""
        return asyncio.wrap_future(self).__await__()

    def run_in(self, thread: threading.Thread) -> None:
        """Start the OS thread that sets the result."""
        self._thread = thread
        thread.start()

    def cancel(self) -> bool:
        """Cancel the task, and nothing else; return whether it is cancelled.

        An async task that has not ended can be cancelled. It is not kept, so another attempt at the
        step runs it again. A synchronous task runs to its end.
        """
        if self._scope is None or not super().cancel():
            return self.cancelled()
        self._scope.cancel()
        return True

    def settle(self) -> BaseException | None:
        """Wait until the task's code has ended; return what it raised, if it was not cancelled."""
        with suppress(CancelledError):
            return self.exception()
        if self._thread is not None:
            self._thread.join()
        return None
