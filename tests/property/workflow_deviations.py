"""Where workflows do not do what LangGraph's do, with reasons; nothing else may differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.property.deviations import STOPS, Deviation, Moment, of, within


def _keeps_fewer_parts(m: Moment) -> bool:
    """Whether LangGraph's streams hold all that ours do, and more."""
    streams = [field for field in m.fields if field.startswith("stream")]
    return all(within(m.ours[field], m.theirs[field]) for field in streams)


def _shows_answered(m: Moment) -> bool:
    told = ("stream updates", "stream order")
    return (
        m.theirs["ended"] == "boom"
        and within(m.ours["asked"], m.theirs["asked"])
        and all(within(m.ours.get(f, []), m.theirs.get(f, [])) for f in told)
    )


def _asks_all(m: Moment) -> bool:
    gathers = any(statement.what == "gather" for statement in m.plan.body)
    return gathers and within(m.theirs["asked"], m.ours["asked"])


def _same_but_for_tasks(m: Moment) -> bool:
    """Whether savers show the same but for which tasks ran, and where runs were resumed."""
    mine, their = ([_known(each) for each in r["saved"]] for r in (m.ours, m.theirs))
    return mine == their


def _known(saved: Mapping[str, Any]) -> Any:
    """Return what a workflow's checkpoint says in both; one that never ended has no name yet."""
    seen = {
        node.replace("__start__", "flow"): channels.keys()
        for node, channels in saved["seen"].items()
    }
    return saved["channels"].keys(), {k: seen[k] for k in {"__input__", "flow"} & seen.keys()}


WORKFLOW_DEVIATIONS = (
    Deviation(
        "tasks seen",
        "A saver does not show which tasks a workflow has called, since its checkpoints do not "
        "hold that. In LangGraph a task has seen nothing.",
        _same_but_for_tasks,
        of("saved"),
    ),
    Deviation(
        "results survive retries",
        "What a task returned is kept when the workflow that called it is tried again. LangGraph "
        "calls it again, or gives it the result of another call: it goes on counting calls.",
        lambda m: bool(m.plan.attempts),
    ),
    Deviation(
        "answered questions",
        "What was answered is not shown as asked, also if the step then fails. LangGraph shows it, "
        "and tells of an update that there is not.",
        _shows_answered,
        of("asked", "tasks") | STOPS,
    ),
    Deviation(
        "all questions",
        "Of tasks that run side by side, all questions are asked at once. LangGraph asks the one "
        "whose task is waited for.",
        _asks_all,
    ),
    Deviation(
        "side by side",
        "Of tasks that run side by side and fail, the one that is waited for ends the step.",
        lambda m: m.ours["ended"] == "boom" and _keeps_fewer_parts(m),
        of("stream tasks", "stream order"),
    ),
)
