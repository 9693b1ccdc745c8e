"""Where this project does not do what LangGraph does, with reasons; nothing else may differ.

A deviation is looked up only where the two differ. It names the fields that it explains. Where it
ends the case, the threads are not the same any more, and nothing is compared after it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.property.views import Do


@dataclass(frozen=True)
class Moment:
    """One thing done to both threads, that came out differently."""

    plan: Any  # A graph's, or a workflow's.
    todo: list[Do]  # What was done, up to this.
    before: Mapping[str, Any] | None
    ours: Mapping[str, Any]
    theirs: Mapping[str, Any]
    fields: set[str]

    @property
    def do(self) -> Do:
        return self.todo[-1]


@dataclass(frozen=True)
class Deviation:
    """One way in which the two differ."""

    name: str
    reason: str
    when: Callable[[Moment], bool]
    explains: frozenset[str] | None = (
        None  # Which fields; `None`: all, and nothing is the same now.
    )


def of(*fields: str) -> frozenset[str]:
    """Return names of fields."""
    return frozenset(fields)


# Differences that are to be mended: each is left out of the comparison while its name is here.
PENDING: set[str] = {
    "cause 21",
    "cause 4",
    "what handlers hear",
}

ORDER = of("stream updates", "stream order", "stream tasks")
PARTS = ORDER | of("stream values", "stream custom")
QUESTIONS = PARTS | of("asked", "returned", "tasks")
STOPS = of("stream updates", "stream order")
STOP = ("", {"__interrupt__": []})


def reasons(m: Moment, table: tuple[Deviation, ...]) -> list[Deviation]:
    """Return the deviations that explain all that differs, or none."""
    left, found = set(m.fields), []
    for deviation in table:
        explains = left if deviation.explains is None else left & deviation.explains
        if explains and deviation.when(m):
            found.append(deviation)
            left -= explains
    return [] if left else found


# ---- when -------------------------------------------------------------------------------


def _poisoned(m: Moment) -> bool:
    return "poisoned" in m.theirs or m.theirs["ended"] == "conflict"


def _replays_head(m: Moment) -> bool:
    past = (m.before or {}).get("history") or [()]
    return m.do.at is not None and m.do.at % len(past) == 0


def _stopped_at_the_end(m: Moment) -> bool:
    their = m.theirs["stream updates"]
    return m.theirs["next"] == [] and their[-1:] == [STOP] and _same_but_for_stops(m)


def _same_but_for_stops(m: Moment) -> bool:
    mine, their = ([u for u in r["stream updates"] if u != STOP] for r in (m.ours, m.theirs))
    return sorted(mine, key=str) == sorted(their, key=str)


def _author_is_clear(m: Moment) -> bool:
    """Whether both would make an update as the same node, if it names none."""
    goes = [
        *(n.goto for n in m.plan.nodes),
        *(c for r in m.plan.routers for c in r.choices),
    ]
    sends = any(target.item for targets in goes for target in targets)
    past = m.before["history"] if m.before else []
    base = past[(m.do.at or 0) % len(past)] if past else None
    return not (sends or m.plan.joins) and (base is None or base[2] == "loop")


def _inner_end_stop(m: Moment) -> bool:
    hidden = m.do.what == "command"  # See "command steps": what stopped is not shown then.
    stopped = bool(m.theirs["next"]) or hidden
    return stopped and any(depth and p.after for depth, p in m.plan.graphs())


def _at_the_limit(m: Moment) -> bool:
    return m.ours["ended"] == "ok" and m.theirs["ended"] == "recursion" and not m.theirs["next"]


def _budget_of_subgraphs(m: Moment) -> bool:
    nests = any(depth for depth, _ in m.plan.graphs())
    return nests and "recursion" in {m.ours["ended"], m.theirs["ended"]}


def _same_parts(m: Moment) -> bool:
    later = any(node.handler or node.attempts for node in m.plan.every())
    fields = m.fields & ORDER
    return later and all(sorted(m.ours[f], key=str) == sorted(m.theirs[f], key=str) for f in fields)


def _same_but_for_handled(m: Moment) -> bool:
    """Whether both came to the same, by a superstep in which a handler ran."""
    ran = "__error_handler__" in str(m.ours) + str(m.theirs)
    return ran and all(m.ours[f] == m.theirs[f] for f in ("ended", "values", "next"))


def _handler_left_out(m: Moment) -> bool:
    handles = any(node.handler for node in m.plan.every())
    stopped = any(task[4] and task[4]["next"] for task in m.theirs["tasks"])
    return handles and (m.theirs["ended"] == "boom" or bool(m.theirs["asked"]) or stopped)


def _called_ones_are_unknown(m: Moment) -> bool:
    calls = any(node.called for node in m.plan.every())
    return calls and _begun(m.ours["tasks"]) == _begun(m.theirs["tasks"])


def _begun(tasks: list[Any]) -> list[Any]:
    """Return tasks without the states of subgraphs that have not begun."""
    return [(*task[:4], _state_begun(task[4])) for task in tasks]


def _state_begun(state: dict[str, Any] | None) -> dict[str, Any] | None:
    empty = state is None or not (state["values"] or state["next"])
    return None if empty else {**state, "tasks": _begun(state["tasks"])}


def _called_anew(m: Moment) -> bool:
    """Whether a lasting subgraph may have been called with new input while a call went on."""
    lasting = any(node.keeps is True and node.sub for node in m.plan.every())
    return lasting and any(do.what != "input" for do in m.todo)


def _steered(m: Moment) -> bool:
    """Whether a command ended alike, as far as LangGraph shows it; or had steps to overtake."""
    deferred = any(node.defer and node.name in m.do.goto for node in m.plan.nodes)
    if m.do.what != "command" or deferred or (m.before and m.before["next"]):
        return m.do.what == "command"
    alike = m.ours["ended"] == m.theirs["ended"] or _at_the_limit(m)
    return alike and (bool(m.ours["next"]) or m.ours["values"] == m.theirs["values"])


def _deferred_beside_sends(m: Moment) -> bool:
    """Whether a deferred node may have waited for what was sent."""
    for _, plan in m.plan.graphs():
        goes = [
            *(n.goto for n in plan.nodes),
            *(c for r in plan.routers for c in r.choices),
        ]
        sends = any(target.item for targets in goes for target in targets)
        if sends and any(node.defer for node in plan.nodes):
            return True
    return False


def _same_in_another_order(m: Moment) -> bool:
    nests = any(depth for depth, _ in m.plan.graphs())
    fields = m.fields & QUESTIONS
    return nests and all(sorted(str(m.ours.get(f))) == sorted(str(m.theirs.get(f))) for f in fields)


def _overrules(m: Moment) -> bool:
    """Whether a command wrote what a completed step of the open superstep had written, too."""
    wrote = any("last" in (task[3] or {}) for task in (m.before or {"tasks": []})["tasks"])
    writes = m.do.what == "command" and "last" in (m.do.values or {})
    return wrote and writes and m.ours["ended"] == "conflict"


def _asks_again(m: Moment) -> bool:
    fields = m.fields & PARTS
    return bool(m.theirs["asked"]) and all(within(m.ours[f], m.theirs[f]) for f in fields)


def _answers_one_of_many(m: Moment) -> bool:
    nests = any(depth for depth, _ in m.plan.graphs())
    asked = (m.before or {"asked": []})["asked"]
    return nests and m.do.what in {"go", "one"} and len(asked) > 1 and bool(m.ours["asked"])


def _command_waits(m: Moment) -> bool:
    return any(node.up for node in m.plan.every()) and bool(m.ours["next"])


def within(some: list[Any], more: list[Any]) -> bool:
    return not Counter(map(str, some)) - Counter(map(str, more))


def _same_but_for_stops_seen(m: Moment) -> bool:
    """Whether savers show the same but for where runs were resumed."""
    mine, their = ([_stops_seen(each) for each in r["saved"]] for r in (m.ours, m.theirs))
    fewer = all(a is None or b is not None for (_, a), (_, b) in zip(mine, their, strict=False))
    return fewer and [rest for rest, _ in mine] == [rest for rest, _ in their]


def _stops_seen(saved: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return the names in a saved checkpoint without where runs were resumed; and where."""
    seen = {node: channels.keys() for node, channels in saved["seen"].items()}
    stops = seen.pop("__interrupt__", None)
    return (saved["channels"].keys(), seen), stops


def _steps_not_stored(m: Moment) -> bool:
    """Whether savers show less after a call that stored only its last checkpoint, and no more."""
    at_the_end = any(do.options.get("durability") == "exit" for do in m.todo)
    pairs = zip(m.ours["saved"], m.theirs["saved"], strict=False)
    return at_the_end and all(
        a["channels"].keys() <= b["channels"].keys() and a["seen"].keys() <= b["seen"].keys()
        for a, b in pairs
    )


def _answered_before(m: Moment) -> bool:
    return m.do.what != "one" and any(do.what == "one" for do in m.todo)


# ---- what and why -----------------------------------------------------------------------

DEVIATIONS = (
    Deviation(
        "D5",
        "Two values for a key that takes one end LangGraph's thread: it cannot be read any more. "
        "Here it can, and be repaired.",
        _poisoned,
    ),
    Deviation(
        "end stop",
        "A run with nothing left has ended. LangGraph says that it stopped after its last node.",
        _stopped_at_the_end,
        STOPS,
    ),
    Deviation(
        "stops told at once",
        "A stop in a subgraph is told when it happens. LangGraph tells it when the superstep ends, "
        "and not at all if another step fails.",
        _same_but_for_stops,
        STOPS,
    ),
    Deviation(
        "D14 limit",
        "A call may take as many supersteps as its recursion limit says. LangGraph raises when "
        "nothing is left to run exactly at the limit.",
        _at_the_limit,
        of("ended", "returned"),
    ),
    Deviation(
        "order of ends",
        "An error handler runs in its step, and a step that waits to be tried again holds nothing "
        "up; so the steps of a superstep end in another order. The results are the same.",
        _same_parts,
        ORDER,
    ),
    Deviation(
        "nothing returned",
        "A call returns the output as it is. LangGraph returns None where no key of it changed.",
        lambda m: m.theirs["ended"] == "ok" and m.theirs.get("returned") is None,
        of("returned"),
    ),
    Deviation(
        "called subgraphs",
        "A subgraph that a node's code calls is known when it has begun. LangGraph looks for such "
        "subgraphs in the code.",
        _called_ones_are_unknown,
        of("tasks"),
    ),
    Deviation(
        "asked once",
        "A step that asks waits for its answer, and tells once that it asks. LangGraph runs it "
        "again at each resume.",
        _asks_again,
        PARTS,
    ),
    Deviation(
        "order of questions",
        "What several steps of a subgraph ask is asked in the order of the plan (INV-6). LangGraph "
        "passes it on in the order of a set of futures.",
        _same_in_another_order,
        QUESTIONS,
    ),
    Deviation(
        "stops seen",
        "A saver shows where a run was resumed that had asked or failed. LangGraph also stores "
        "where one was resumed at a break.",
        _same_but_for_stops_seen,
        of("saved"),
    ),
    Deviation(
        "steps not stored",
        "With durability exit, a saver does not show what happened in the supersteps that were "
        "not stored, since it derives from stored ones what LangGraph repeats in each checkpoint.",
        _steps_not_stored,
        of("saved"),
    ),
    # What follows makes two different threads.
    Deviation(
        "deferred and sent",
        "A deferred node waits for what was sent, too, and runs once. LangGraph runs it beside the "
        "steps that a Send asked for, and again after them.",
        _deferred_beside_sends,
    ),
    Deviation(
        "all answers first",
        "A step goes on when all that it asks is answered, so that no answer finds it running. "
        "LangGraph runs it again for each, and in a subgraph what was answered goes on.",
        _answers_one_of_many,
    ),
    Deviation(
        "head replay",
        "The config of the latest checkpoint names the thread as it is: calls go on there, and "
        "what completed is not run again (INV-4). LangGraph branches off from it.",
        _replays_head,
    ),
    Deviation(
        "D14 author",
        "An update that names no node is made as the node that ran last. LangGraph goes by "
        "triggers: it forgets who was sent something or updated, and two triggers of one node "
        "confuse it.",
        lambda m: m.do.what == "update" and m.do.as_node is None and not _author_is_clear(m),
    ),
    Deviation(
        "inner end stop",
        "A subgraph with nothing left has ended. LangGraph stops in it after its last node.",
        _inner_end_stop,
    ),
    Deviation(
        "D14 inner limit",
        "What holds for the limit of a call holds for that of a subgraph. LangGraph takes two more "
        "supersteps when it resumes, but subgraphs get what was asked.",
        _budget_of_subgraphs,
    ),
    Deviation(
        "handled steps",
        "A step whose handler ran has no result of its own. LangGraph shows it as one that wrote "
        "nothing, or failed, depending on when its handler ran.",
        _same_but_for_handled,
    ),
    Deviation(
        "handler left out",
        "An error handler runs although another step of the superstep fails, asks or stops.",
        _handler_left_out,
    ),
    Deviation(
        "settled",
        "An update as END means that nothing is left to do. LangGraph continues with what follows "
        "the steps that had completed.",
        lambda m: m.do.what == "settle",
    ),
    Deviation(
        "command steps",
        "A command that updates or leads is taken in by a step with checkpoints of its own, and "
        "get_state shows what it leads to. LangGraph changes the latest checkpoint in memory, so "
        "that what it leads to cannot be seen where it asks or fails, waits for what asks, and "
        "does not run if it is deferred. (D9, D10)",
        _steered,
    ),
    Deviation(
        "D1",
        "An answer is used once, for the question it answers. LangGraph gives it to the next one.",
        _answered_before,
    ),
    Deviation(
        "command overrules",
        "A command is applied together with what had completed of the superstep it interrupts, so "
        "that the two may be in conflict. LangGraph applies the command before.",
        _overrules,
    ),
    Deviation(
        "command up waits",
        "A command for the graph around is followed when the superstep it is from has ended, and "
        "the others of it do not wait for anything. LangGraph follows it at once.",
        _command_waits,
    ),
    Deviation(
        "going on below",
        "A subgraph with checkpointer=True takes what a new step gives it. If the call around goes "
        "on, LangGraph goes on in it, too, where it stopped or ended, and drops its input.",
        _called_anew,
    ),
)
