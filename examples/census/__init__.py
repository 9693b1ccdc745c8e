"""A code census of a folder of Python sources: how much there is, how complex, how well documented.

    START → scan ─┬→ parse ─┬→ merge ─┬──────────→ report → END
                  ├→ parse ─┤         └→ review ─────↑
                  └→ parse ─┘

`scan` lists the packages. Each becomes one `parse` step; a large one becomes several. `merge` adds
their numbers up. Where a function is over the threshold, `review` asks a person. `report` writes
Markdown and a chart into the state.

Every node is a function of its input and of the files it reads, and changes nothing else: a step
whose worker died is simply run again.
"""

import operator
from typing import Annotated, Literal, TypedDict

from examples.census.chart import draw
from examples.census.folder import Package, choose_packages, list_packages, resolve
from examples.census.report import write
from examples.census.review import Verdict, ask, read_answer
from examples.census.split import Parcel, divide, inputs
from examples.census.summary import Census, Summary, Threshold, add_up, measure, read_threshold
from orchestrator import END, START, Send, StateGraph, interrupt

__all__ = ["State", "builder", "graph", "inputs"]


class State(TypedDict, total=False):
    """The state of one census; the first three keys are its input."""

    path: str | None  # The folder, for the worker to find; None: its standard library.
    threshold: Threshold
    only: list[str]  # Names of the packages to count; absent or empty: all.
    root: str
    packages: list[Package]
    results: Annotated[list[Summary], operator.add]
    census: Census
    verdict: Verdict | None
    report_markdown: str
    report_svg: str


def scan(state: State) -> State:
    """List what is to be counted, so that all later steps agree on it.

    Raises:
        ValueError: when the input is not valid, or the folder holds nothing to count.
        FileNotFoundError, NotADirectoryError: when there is no such folder.
    """
    root = resolve(state.get("path"))
    return {
        "root": root,
        "threshold": read_threshold(state.get("threshold", {})),
        "packages": choose_packages(list_packages(root), state.get("only")),
        "verdict": None,
    }


def send_parcels(state: State) -> list[Send]:
    """Send each parcel of work to a `parse` step of its own, in the order of the packages."""
    parcels = divide(state["root"], state["packages"], state["threshold"])
    return [Send("parse", parcel) for parcel in parcels]


def parse(parcel: Parcel) -> State:
    """Measure the sources of one parcel."""
    return {"results": [measure(**parcel)]}


def merge(state: State) -> State:
    """Add the results up, in the order in which they were sent."""
    results = {(result["name"], result["part"]): result for result in state["results"]}
    # A thread that takes a second census still holds the results of its first: only what was sent
    # this time counts.
    parcels = divide(state["root"], state["packages"], state["threshold"])
    current = [results[parcel["name"], parcel["part"]] for parcel in parcels]
    return {"census": add_up(state["root"], current)}


def needs_review(state: State) -> Literal["review", "report"]:
    """Choose `review` where a function is over the threshold, else `report`."""
    return "review" if state["census"]["total"]["counts"]["over"] else "report"


def review(state: State) -> State:
    """Ask a person, and record the answer.

    Raises:
        ValueError: when the answer is not one that the question allows.
    """
    return {"verdict": read_answer(interrupt(ask(state["census"], state["threshold"])))}


def report(state: State) -> State:
    """Write the census down as Markdown and as a chart."""
    census, threshold = state["census"], state["threshold"]
    return {
        "report_markdown": write(census, threshold, state.get("verdict")),
        "report_svg": draw(census, threshold),
    }


builder = StateGraph(State)
builder.add_node("scan", scan)
builder.add_node("parse", parse)
builder.add_node("merge", merge)
builder.add_node("review", review)
builder.add_node("report", report)
builder.add_edge(START, "scan")
builder.add_conditional_edges("scan", send_parcels, ["parse"])
builder.add_edge("parse", "merge")
builder.add_conditional_edges("merge", needs_review, ["review", "report"])
builder.add_edge("review", "report")
builder.add_edge("report", END)
graph = builder.compile()
