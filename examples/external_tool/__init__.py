"""A tool that takes long and lives elsewhere: the run waits for its callback without a worker.

The node `order` hands the work to an outside service, once, under a key that is the same however
often the node is tried. The node `collect` asks with `interrupt`, which ends the run until there is
an answer. The service calls back when it is done, and the callback is that answer.
"""

from typing import Any, TypedDict

from orchestrator import END, START, StateGraph, StepContext, interrupt


class State(TypedDict, total=False):
    """One film and its rendering."""

    film: str
    job: str
    frames: int


class RenderFarm:
    """A service somewhere else. It takes jobs, and calls back when they are done."""

    def __init__(self) -> None:
        """Begin without jobs."""
        self.jobs: dict[str, dict[str, Any]] = {}

    def submit(self, key: str, film: str, thread_id: str) -> str:
        """Take a job, unless the key is known; return the job's name."""
        self.jobs.setdefault(key, {"film": film, "thread_id": thread_id})
        return f"job-{list(self.jobs).index(key) + 1}"


farm = RenderFarm()


def order(state: State, ctx: StepContext) -> State:
    """Hand the film to the farm; a second attempt at this step finds the first one's job."""
    return {"job": farm.submit(ctx.idempotency_key, state["film"], ctx.thread_id)}


def collect(state: State) -> State:
    """Wait for the farm; what the callback brings must be a number."""
    return {"frames": interrupt({"waits for": state["job"]}, key="rendered", response_schema=int)}


builder = StateGraph(State)
builder.add_node(order)
builder.add_node(collect)
builder.add_edge(START, "order")
builder.add_edge("order", "collect")
builder.add_edge("collect", END)
