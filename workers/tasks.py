"""The Celery task that does a step: a few lines that call the step protocol."""

from __future__ import annotations

from typing import Any

from orchestrator.execute.messages import STEP_TASK
from workers.app import app
from workers.requests import DoneInPlace, StepRequest
from workers.runtime import runtime

__all__ = ["run_step"]


@app.task(name=STEP_TASK, bind=True, Request=StepRequest, resultrepr_maxsize=10_000_000)
def run_step(self: Any, *, thread: str, step: str, sent: int = 0) -> DoneInPlace | None:
    """Do a step of a thread, if it is to be done, and others while the slice of time lasts.

    The message is only a hint.
    """
    done, mine = DoneInPlace(), runtime()
    mine.run(thread, step, sent, done.add)
    mine.run_waiting(self.request.delivery_info["routing_key"], done.add)
    return done or None
