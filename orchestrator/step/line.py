"""The next run of a thread begins when the one before has ended."""

from __future__ import annotations

import logging

from orchestrator.checkpointer.base import Checkpointer
from orchestrator.engine import run_queue
from orchestrator.errors import CheckpointerUnavailableError, GraphstalkError
from orchestrator.model.commit import Commit, LoadedThread, ReadyStep
from orchestrator.step.carrying import CARRYING

__all__ = ["begin_next"]

_log = logging.getLogger(__name__)
_TRIES_MAX = 8  # Who loses so often leaves it to the sweeper.


def begin_next(store: Checkpointer, thread_id: str) -> tuple[ReadyStep, ...]:
    """Let the first run in a thread's line begin, if the thread is free; return its first steps.

    Anyone may, one does; it takes no graph. A run that cannot begin leaves the line, and the log of
    its thread says why.
    """
    for _ in range(_TRIES_MAX):
        loaded = store.load(thread_id)
        if loaded is None or not loaded.head.status.final or not loaded.line:
            return ()
        commit = _next(thread_id, loaded)
        if store.commit(commit).refused is None and commit.ready:
            return commit.ready
    return ()


def _next(thread_id: str, loaded: LoadedThread) -> Commit:
    try:
        return run_queue.begin(CARRYING, thread_id, loaded)
    except CheckpointerUnavailableError:
        raise
    except GraphstalkError as error:
        run_id = next(iter(loaded.line))
        _log.error("the run %s of thread %r cannot begin: %s", run_id, thread_id, error)
        return run_queue.withdraw(thread_id, run_id, str(error))
