"""How a worker takes messages of steps: as Celery does, and telling of what was done in place.

A step that was done in place had no message of its own, so Celery tells nothing of it. Its process
says with the result of the message which steps it did; the worker sends the events that Celery
would have sent for each, under the step's own id. So Flower shows them like any other.
"""

from __future__ import annotations

import json
import logging
from typing import Any

from celery.worker.request import Request

__all__ = ["DoneInPlace", "StepRequest"]

_log = logging.getLogger(__name__)


def _brief(record: logging.LogRecord) -> bool:
    """Leave out of the log what a message brought back."""
    if isinstance(record.args, dict) and "return_value" in record.args:
        record.args = {**record.args, "return_value": None}
    return True


logging.getLogger("celery.app.trace").addFilter(_brief)


class DoneInPlace:
    """The result of a message: the steps that were done in place after its own.

    A pool passes on only the text of a result.
    """

    def __init__(self) -> None:
        """Begin without any."""
        self._steps: list[tuple[str, str, float, float]] = []

    def add(self, task_id: str, name: str, started_s: float, took_s: float) -> None:
        """Add a step.

        Args:
            task_id: of the step.
            name: that Flower shows.
            started_s: when it began, in seconds since the epoch.
            took_s: how many seconds it ran.
        """
        self._steps.append((task_id, name, started_s, took_s))

    def __bool__(self) -> bool:
        """Whether there was any."""
        return bool(self._steps)

    def __repr__(self) -> str:
        """Return them as text."""
        return json.dumps(self._steps)


class StepRequest(Request):
    """A message of a step, in the worker's main process."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take a message."""
        super().__init__(*args, **kwargs)
        # Celery calls this, and makes a subclass with a method of this name; so it is shadowed.
        self.__dict__["on_success"] = self._on_success

    def _on_success(self, failed__retval__runtime: tuple[Any, Any, float], **kwargs: Any) -> None:
        """Tell of the steps that were done, too, and go on as Celery does."""
        failed, text, runtime = failed__retval__runtime
        if not failed and text != "None":
            self._tell(str(text))
            text = "None"
        vars(type(self))["on_success"](self, (failed, text, runtime), **kwargs)

    def _tell(self, text: str) -> None:
        """Log and tell of steps that had no request of their own, as Celery does of requests."""
        eventer = self._eventer
        listened = bool(eventer and eventer.enabled)
        if not (listened or _log.isEnabledFor(logging.INFO)):
            return
        for task_id, name, started_s, took_s in json.loads(text):
            _log.info("Task %s[%s] succeeded in %.6gs, in place", name, task_id, took_s)
            if listened:
                told = {"uuid": task_id, "timestamp": started_s}
                eventer.send("task-received", name=name, args="()", kwargs="{}", retries=0, **told)
                eventer.send("task-started", **told)
                told["timestamp"] = started_s + took_s
                eventer.send("task-succeeded", result="None", runtime=took_s, **told)
