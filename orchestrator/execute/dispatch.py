"""Getting the messages of ready steps to a broker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from orchestrator.checkpoint.commit import ReadyStep
from orchestrator.checkpointer.base import Checkpointer
from orchestrator.checkpointer.redis import RedisCheckpointer
from orchestrator.config import Settings
from orchestrator.errors import CheckpointerUnavailableError
from orchestrator.execute.messages import (
    STEP_TASK,
    MessageRenderer,
    celery_template,
    step_arguments,
)

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["Dispatch", "dispatcher", "open_store"]

Dispatch = Callable[[Sequence[ReadyStep]], None]  # Sends messages, and remembers that they were.


def open_store(settings: Settings, template: str | None = None) -> RedisCheckpointer:
    """Return the checkpointer of a deployment; where it is the broker too, it sends messages.

    Args:
        settings: the deployment.
        template: of messages, if somebody has rendered it already; else Celery renders it now.
    """
    if not settings.one_redis:
        return RedisCheckpointer(settings=settings)
    renderer = MessageRenderer(template or celery_template())
    return RedisCheckpointer(settings=settings, renderer=renderer)


def dispatcher(store: RedisCheckpointer, settings: Settings) -> Dispatch:
    """Return how messages get to the broker of `settings`."""
    return store.push if store.pushes else _Publisher(store, settings)


class _Publisher:
    """Sends through Celery, to whatever broker it speaks to."""

    def __init__(self, store: Checkpointer, settings: Settings) -> None:
        self._store, self._settings = store, settings
        self._app: Celery | None = None

    def __call__(self, steps: Sequence[ReadyStep]) -> None:
        from kombu.exceptions import OperationalError  # noqa: PLC0415 - only senders need Celery

        app = self._celery()
        try:
            with app.producer_or_acquire() as producer:
                for step in steps:
                    app.send_task(
                        STEP_TASK,
                        kwargs=step_arguments(step, 0),
                        task_id=step.task_id,
                        queue=step.queue,
                        shadow=f"{step.graph}.{step.node}",
                        producer=producer,
                        ignore_result=True,
                    )
        except OperationalError as error:
            msg = f"the broker does not answer ({error}); the steps are stored and will be sent"
            raise CheckpointerUnavailableError(msg) from error
        self._store.mark_sent(steps)

    def _celery(self) -> Celery:
        from celery import Celery  # noqa: PLC0415 - only senders need Celery

        if self._app is None:
            self._app = Celery("graphstalk", broker=self._settings.broker_url, set_as_current=False)
        return self._app
