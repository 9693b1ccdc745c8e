"""The Celery task that does a step: a few lines that call the step protocol."""

from __future__ import annotations

from orchestrator.execute.messages import STEP_TASK
from workers.app import app
from workers.requests import DoneInPlace, StepRequest
from workers.runtime import runtime

__all__ = ["run_step"]


@app.task(name=STEP_TASK, Request=StepRequest, resultrepr_maxsize=10_000_000)
def run_step(*, thread: str, step: str, sent: int = 0) -> DoneInPlace | None:
    """Do a step of a thread, if it is to be done; the message is only a hint."""
    done = DoneInPlace()
    runtime().run(thread, step, sent, done.add)
    return done or None
