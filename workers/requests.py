"""How a worker reports steps to Celery: as tasks that succeed, fail, are retried or are revoked.

The outcome of an attempt is the state of its Celery task, so Flower and Celery's log show it. A
step that was done in place had no message of its own: its process returns it with the result of
the message, and the worker logs it and sends the events that Celery would have sent for it, under
the step's own id.
"""

from __future__ import annotations

import json
import logging
import traceback
from typing import Any, Self

from celery.exceptions import Retry, Terminated
from celery.worker.request import Request
from celery.worker.state import revoked as revoked_tasks

from orchestrator import limits
from orchestrator.model.commit import ReadyStep
from orchestrator.step.report import Report

__all__ = ["AttemptFailed", "AttemptRetried", "DoneInPlace", "StepRequest", "StepRevoked"]

_log = logging.getLogger(__name__)


def _brief(record: logging.LogRecord) -> bool:
    """Leave out of the log what a message brought back."""
    if isinstance(record.args, dict) and "return_value" in record.args:
        record.args = {**record.args, "return_value": None}
    return True


logging.getLogger("celery.app.trace").addFilter(_brief)


def _lost_with_its_connection(record: logging.LogRecord) -> bool:
    """Log an acknowledgement that came too late for its connection as what it is: no loss."""
    if str(record.msg).startswith("Couldn't ack") and isinstance(record.args, tuple):
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        record.msg, record.args, record.exc_info = _LATE_ACK, record.args[1:], None
    return True


_LATE_ACK = (
    "the connection was lost before a message was acknowledged (%r): the broker sends it again, "
    "and its step is not run twice"
)
logging.getLogger("celery.worker.request").addFilter(_lost_with_its_connection)


class AttemptFailed(Exception):  # noqa: N818 - the outcome of an attempt, not an error of ours
    """What a Celery task of a failed step raises: the node's exception as text.

    The exception itself may be of a class that the worker's main process cannot load.
    """

    @classmethod
    def of(cls, error: BaseException) -> Self:
        """Return the outcome for what a node raised."""
        try:
            text = f"{type(error).__qualname__}: {error}"
        except Exception as broken:  # noqa: BLE001 - a user's exception may not even print itself
            text = f"{type(error).__qualname__} cannot be printed ({type(broken).__name__})"
        return cls(text[: limits.ERROR_TEXT_CHARS_MAX])


class AttemptRetried(Retry):
    """What a Celery task of a failed step raises if the step waits for its next attempt."""

    def __init__(
        self, message: str | None = None, exc: Exception | None = None, when: float | None = None
    ) -> None:
        """Make the outcome; the parameters are Celery's."""
        super().__init__(message, exc, when)

    @classmethod
    def of(cls, error: BaseException, retry_ms: int) -> Self:
        """Return the outcome for what a node raised and when it is tried again."""
        failed = AttemptFailed.of(error)
        return cls(f"retried in {retry_ms / 1000:.1f} s: {failed}", failed, retry_ms / 1000)


class StepRevoked(Terminated):
    """What a Celery task of a step raises whose run was cancelled: the task shows as revoked."""


class DoneInPlace:
    """The result of a message: whether it was refused, and the steps done in place after its own.

    A pool passes on only the text of a result.
    """

    def __init__(self) -> None:
        """Begin without any."""
        self._steps: list[dict[str, Any]] = []
        self.refused = False  # There was nothing to do, or it was too late: no outcome of the step.

    def add(self, step: ReadyStep, started_s: float, took_s: float, report: Report) -> None:
        """Add a step: when it began, in seconds since the epoch, how many it took, its report."""
        done = {"uuid": step.task_id, "name": step.shadow, "started": started_s, "took": took_s}
        done["how"] = "succeeded" if report.refused is None else "revoked"
        error = report.raised
        if error is not None:
            trace = "".join(traceback.format_exception(error))
            done["how"] = "failed" if report.retry_ms is None else "retried"
            done["exception"] = str(AttemptFailed.of(error))
            done["traceback"] = trace[-limits.ERROR_TEXT_CHARS_MAX :]
        self._steps.append(done)

    def __bool__(self) -> bool:
        """Whether there is anything to report."""
        return self.refused or bool(self._steps)

    def __repr__(self) -> str:
        """Return it as text."""
        return json.dumps({"refused": self.refused, "steps": self._steps})


class StepRequest(Request):
    """A message of a step, in the worker's main process."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Accept a message."""
        super().__init__(*args, **kwargs)
        self._refused = False
        # Celery calls this, and makes a subclass with a method of this name; so it is shadowed.
        self.__dict__["on_success"] = self._on_success

    def revoked(self) -> bool:
        """Return `False`: a step is run although its task was revoked, and a line says so.

        Its run still waits for it, and every message of a step has the same id: if those were
        discarded, nothing would move the thread on. To stop a run there is `cancel`.
        """
        if self.id in revoked_tasks:
            revoked_tasks.discard(self.id)
            _log.warning(
                "the task %s was revoked, and is run all the same: its run waits for it. To stop "
                "the run use graphstalk cancel, or Client.cancel",
                self.id,
            )
        return False

    def _on_success(self, failed__retval__runtime: tuple[Any, Any, float], **kwargs: Any) -> None:
        """Report the steps that were done in place, too, and continue as Celery does."""
        failed, text, runtime = failed__retval__runtime
        if not failed and text != "None":
            done = json.loads(str(text))
            self._refused = done["refused"]
            self._report_in_place(done["steps"])
            text = "None"
        vars(type(self))["on_success"](self, (failed, text, runtime), **kwargs)

    def send_event(self, type: str, **fields: Any) -> None:  # noqa: A002 - Celery's name
        """Send an event, unless a message that was refused would show its step as done.

        All messages of a step have its id, so one that comes once more would replace a failure.
        """
        if not (self._refused and type == "task-succeeded"):
            super().send_event(type, **fields)

    def _report_in_place(self, steps: list[dict[str, Any]]) -> None:
        """Log steps that had no request of their own, and send Celery's events for them."""
        eventer = self._eventer
        listened = bool(eventer and eventer.enabled)
        if not (listened or _log.isEnabledFor(logging.INFO)):
            return
        for done in steps:
            name, took_s, how = done["name"], done["took"], done["how"]
            why = f": {done['exception']}" if "exception" in done else ""
            _log.info("Task %s[%s] %s in %.6gs, in place%s", name, done["uuid"], how, took_s, why)
            if not listened:
                continue
            event = {"uuid": done["uuid"], "timestamp": done["started"]}
            eventer.send("task-received", name=name, args="()", kwargs="{}", retries=0, **event)
            eventer.send("task-started", **event)
            event["timestamp"] = done["started"] + took_s
            outcomes = {
                "succeeded": {"result": "None", "runtime": took_s},
                "revoked": {"terminated": True, "signum": None, "expired": False},
            }
            if how in outcomes:
                outcome = outcomes[how]
            else:
                outcome = {"exception": done["exception"], "traceback": done["traceback"]}
            eventer.send(f"task-{how}", **outcome, **event)
