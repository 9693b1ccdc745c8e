"""Steps run by a fleet of Celery workers; the caller waits."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.checkpointer.base import Checkpointer
from orchestrator.checkpointer.fleet import SharedCheckpointer, settings_of
from orchestrator.config import Settings
from orchestrator.dispatch.await_run import wait_for_rest
from orchestrator.dispatch.broker import dispatcher, open_store, warn_if_unread
from orchestrator.model.commit import ReadyStep
from orchestrator.step.runner import StepRunner

__all__ = ["CeleryExecutor"]


class CeleryExecutor:
    """Run steps on the workers of a deployment.

    `graph.compile(name="census", executor=CeleryExecutor())` gives a graph whose `invoke` accepts
    the run, lets the workers that know the graph `census` run it, and waits until it is idle.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        settings: Settings | None = None,
        timeout_s: float | None = None,
        checkpointer: SharedCheckpointer | None = None,
    ) -> None:
        """Use the deployment at `url`, by default that of the environment.

        Args:
            url: the Redis that holds the checkpoints.
            settings: all settings, instead of those of the environment.
            timeout_s: how long `invoke` waits for a run; the run itself continues.
            checkpointer: the store of the deployment, opened by the caller, who closes it.

        Raises:
            NotSupportedError: if no workers share that checkpointer.
        """
        self.settings = settings_of(checkpointer, settings, url)
        self.default_queue = self.settings.queue
        self._timeout_s = timeout_s
        self._checked = False  # Whether workers read the same broker.
        self._store = checkpointer or open_store(self.settings)
        self._dispatch = dispatcher(self._store, self.settings)

    def checkpointer(self) -> Checkpointer | None:
        """Return the deployment's checkpointer."""
        return self._store

    def send(self, ready: Sequence[ReadyStep]) -> None:
        """See `Executor.send`; a store that is the broker has sent them already."""
        if not self._checked:
            self._checked = True
            warn_if_unread(self._store)
        if ready and not self._store.pushes:
            self._dispatch(ready)

    def proceed(
        self,
        runner: StepRunner,
        thread_id: str,
        ready: Sequence[ReadyStep],
        run_id: str = "",
    ) -> BaseException | None:
        """See `Executor.proceed`; a node's exception is in the thread's record, not raised here.

        Raises:
            RunNotFinishedError: if the time to wait is over.
        """
        del runner
        self.send(ready)
        wait_for_rest(self._store, thread_id, self._timeout_s, run_id)
        return None
