"""What a caller sees in another way than in LangGraph, by the path to it, with reasons.

A path leads into what `sessions.Session.act` returns, as `whole.differences` names it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from tests.property.calling import Scene
from tests.property.deviations import PENDING
from tests.property.plans import GraphPlan
from tests.property.sessions import Call
from tests.property.whole import ABSENT, Difference, without_ids


@dataclass(frozen=True)
class Seen:
    """One call of a scene that came out differently."""

    scene: Scene
    calls: tuple[Call, ...]  # Up to the one that differs.
    ours: dict[str, Any]
    theirs: dict[str, Any]
    differences: list[Difference]

    @property
    def call(self) -> Call:
        return self.calls[-1]

    @property
    def next(self) -> Any:
        """Return what is next in LangGraph's thread."""
        now = self.theirs.get("now")
        return now["next"] if isinstance(now, dict) else ()


S = TypeVar("S")


@dataclass(frozen=True)
class Known(Generic[S]):
    """One way in which what is seen differs; where it ends the scene, no path is named."""

    name: str
    reason: str
    path: str = ""
    when: Callable[[S], bool] = field(default=lambda _: True)
    values: Callable[[Any, Any], bool] = field(default=lambda _ours, _theirs: True)

    def explains(self, seen: S, difference: Difference) -> bool:
        path, ours, theirs = difference
        return bool(
            (not self.path or re.search(self.path, path))
            and self.values(ours, theirs)
            and self.when(seen)
        )

    @property
    def active(self) -> bool:
        """Whether it is on purpose, or to be mended and not yet."""
        return not self.reason.startswith("Pending") or self.name in PENDING


def unexplained(
    seen: Seen, table: Iterable[Known[Seen]], met: Counter[str]
) -> tuple[list[Difference], bool]:
    """Return the differences that nothing explains, and whether the threads are two by now."""
    left, ends = seen.differences, False
    for known in table:
        if left and known.active:
            others = [each for each in left if not known.explains(seen, each)]
            if len(others) < len(left):
                met[f"known: {known.name}"] += 1
                ends = ends or not known.path
            left = others
    return left, ends


def _questions(found: dict[str, Any]) -> list[str]:
    now = found.get("now")
    return sorted(i["value"] for i in now["interrupts"]) if isinstance(now, dict) else []


def _is_below(at: tuple[str, int] | None) -> bool:
    return at is not None and at[0] != "root"


def _parts(found: dict[str, Any]) -> list[str]:
    """Return the parts of a stream, whatever their order."""
    parts = found.get("parts", found.get("returned"))
    return sorted(without_ids(str(part)) for part in parts) if isinstance(parts, list) else []


def _asks(plan: GraphPlan) -> bool:
    return any(node.asks for node in plan.every())


def _nothing(returned: Any) -> bool:
    value = returned
    if isinstance(returned, dict) and returned.get("<class>") == "GraphOutput":
        value = returned["value"]
    if isinstance(value, dict) and set(value) == {"__interrupt__"}:
        value = None
    return value in (None, [None], {})


CALLS: tuple[Known[Seen], ...] = (
    Known(
        "D5",
        "Two values for a key that takes one end LangGraph's thread.",
        when=lambda s: "InvalidUpdateError" in f"{s.theirs.get('ended')} {s.theirs.get('now')}",
    ),
    Known(
        "end stop",
        "A run with nothing left has ended. LangGraph says that it stopped after its last node.",
        r"^\.(parts|returned)",
        lambda s: bool(s.scene.plan.after) and not s.next,
    ),
    Known(
        "order of ends",
        "A step that waits to be tried again holds nothing up, so the steps of a superstep end in "
        "another order.",
        r"^\.(parts|returned)",
        lambda s: any(node.attempts for node in s.scene.plan.every()),
    ),
    Known(
        "order of answers",
        "Steps that are answered or resumed together run in the order of their answers. LangGraph "
        "runs them by name.",
        r"^\.(parts|returned)",
        lambda s: s.call.what in {"answer", "resume"} and _parts(s.ours) == _parts(s.theirs),
    ),
    Known(
        "siblings of a failure",
        "A call that is awaited cancels what runs beside a failure, as LangGraph does; here "
        "LangGraph is made to wait for it.",
        when=lambda s: (
            s.call.face[0] == "a"
            and s.theirs["ended"] != "ok"
            and any(n.fails and not n.attempts for n in s.scene.plan.every())
        ),
    ),
    Known(
        "own objects",
        "LangGraph's configs hold its checkpointer.",
        r"__pregel_",
    ),
    Known(
        "nothing returned",
        "A call returns the output as it is. LangGraph returns None where no key of it changed.",
        r"^\.returned",
        lambda s: (
            s.theirs["ended"] == "ok" and "returned" in s.theirs and _nothing(s.theirs["returned"])
        ),
    ),
    Known(
        "namespace of a lasting subgraph",
        "All runs of a subgraph with checkpointer=True share one thread, which a config names. "
        "LangGraph's names the step, too.",
        r"tasks\[\d+\]\.state\.configurable\.checkpoint_ns$",
    ),
    Known("metadata of earlier calls", "Pending.", r"metadata\.[mn]$"),
    Known(
        "errors in streams",
        "A part shows how a step failed as the text that is stored. LangGraph's holds the "
        "exception, although its type says that it is a text.",
        r"\.error$",
        values=lambda o, t: isinstance(o, str) and t is not None and t.startswith("<error"),
    ),
    Known(
        "state of unkept",
        "Pending.",
        r"^\.parts$",
        lambda s: any(n.keeps is False for n in s.scene.plan.every()),
    ),
    Known("state of unkept", "Pending.", r"tasks\[\d+\]\.state$", values=lambda o, t: t is None),
    Known(
        "D14 author",
        "An update that names no node is made as the node that ran last. LangGraph goes by "
        "triggers.",
        when=lambda s: s.call.what == "update" and s.call.as_node is None,
    ),
    Known(
        "settled",
        "An update as END means that nothing is left to do. LangGraph continues with what follows "
        "the steps that had completed.",
        when=lambda s: s.call.what == "update" and s.call.as_node == "__end__",
    ),
    Known(
        "ids of subgraphs",
        "The id of a checkpoint is its thread's own; that of a subgraph's may be the same text.",
        r"state\..*(checkpoint_id$|checkpoint_map)",
    ),
    Known(
        "order of questions",
        "What several steps of a subgraph ask is asked in the order of the plan (INV-6). LangGraph "
        "passes it on in the order of a set of futures.",
        r"(interrupts|__interrupt__)",
        lambda s: bool(_questions(s.ours)) and _questions(s.ours) == _questions(s.theirs),
    ),
    Known(
        "v2 where nothing changed",
        "The state is of its class in every part and result. LangGraph gives a dict where no key "
        "of it changed.",
        r"(returned\.value|data)\.",
        lambda s: s.call.options.get("version") == "v2",
        lambda _, theirs: theirs == ABSENT,
    ),
    Known(
        "D1",
        "A subgraph with checkpointer=False that asks again is asked its next question. LangGraph "
        "gives it the same answer for each.",
        when=lambda s: any(
            n.sub and n.keeps is False and _asks(n.sub) for n in s.scene.plan.every()
        ),
    ),
    Known(
        "going on below",
        "A subgraph with checkpointer=True takes what a new step gives it. If the call around goes "
        "on, LangGraph goes on in it, too, where it stopped or ended, and drops its input.",
        when=lambda s: s.call.what != "input" and any(n.keeps for n in s.scene.plan.every()),
    ),
    Known(
        "answer beside a failure",
        "Pending.",
        when=lambda s: s.call.what == "answer" and any(n.fails for n in s.scene.plan.every()),
    ),
    Known(
        "output_keys below",
        "Pending.",
        r"^\.(parts|returned)",
        lambda s: "output_keys" in s.call.options and any(d for d, _ in s.scene.plan.graphs()),
    ),
    Known(
        "lasting without a checkpointer",
        "Pending.",
        when=lambda s: not s.scene.keeps and any(n.keeps for n in s.scene.plan.every()),
    ),
    Known("cause 4", "Pending.", when=lambda s: any(_is_below(c.at) for c in s.calls)),
    Known(
        "parents at the end",
        "With durability exit, the part of a checkpoint names the one before as its parent, as "
        "history does. LangGraph names the parent of the one at which the call began.",
        r"^\.(parts|returned).*parent_config",
        lambda s: s.call.options.get("durability") == "exit",
    ),
    Known(
        "text of thread ids",
        "A thread id is stored as text, and handlers hear it as text. LangGraph hands on a number "
        "or a UUID as the caller gave it.",
        r"^\.heard.*\.thread_id$",
        values=lambda ours, theirs: ours == str(theirs) or theirs == "<UUID>",
    ),
    Known(
        "commands without an answer",
        "A Command without an answer holds a mark, since None is an answer.",
        r"^\.heard.*outputs\.resume$",
        values=lambda ours, theirs: ours == "<_Mark>" and theirs is None,
    ),
    Known("what handlers hear", "Pending.", r"^\.heard"),
    Known(
        "history of edits",
        "Pending.",
        r"^\.(past|now|parts|returned)",
        lambda s: any(c.what == "update" for c in s.calls),
    ),
    Known(
        "abandoned steps",
        "Pending.",
        r"^\.past.*(interrupts|error)$",
        lambda s: any(c.what == "input" or c.at is not None for c in s.calls[1:]),
        lambda ours, _: ours in ((), None),
    ),
    Known(
        "questions in parts",
        "Pending.",
        r"(parts|returned).*tasks\[\d+\]\.(interrupts|error|result)$",
        values=lambda ours, _: ours in ((), None, ABSENT, {}),
    ),
    Known(
        "all that was asked",
        "An older snapshot shows all that its steps asked. LangGraph shows what they asked last.",
        r"^\.past.*interrupts$",
        values=lambda ours, theirs: len(ours) > len(theirs),
    ),
    Known(
        "input by hand",
        "An update as '__input__' drops what waited, as an input does; in LangGraph it waits.",
        when=lambda s: any(c.as_node == "__input__" for c in s.calls),
    ),
    Known(
        "questions without a schema",
        "A part shows the schema of a question where there is one. LangGraph 1.2.22 shows None "
        "where there is none; 1.2.11 does not.",
        r"interrupts\[\d+\]\.response_schema$",
        values=lambda ours, theirs: ours == ABSENT and theirs is None,
    ),
    Known("values of debug", "Pending.", r"(payload|data)\.values\."),
    Known("metadata of the config", "Pending.", r"metadata\.foo$"),
    Known("config of streams", "Pending.", r"(parts|returned).*config\.configurable\.foo$"),
    Known(
        "metadata of streams",
        "Pending.",
        r"(parts|returned).*metadata\.[mn]$",
        values=lambda o, t: t == ABSENT,
    ),
    Known(
        "metadata of tasks",
        "Pending.",
        r"(parts|returned).*metadata$",
        values=lambda o, t: o == ABSENT,
    ),
)
