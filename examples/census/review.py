"""What a person is asked about a census, and what counts as an answer."""

from typing import Literal, TypedDict

from examples.census.source import Function
from examples.census.summary import Census, Threshold, is_over

__all__ = ["Question", "Verdict", "ask", "read_answer"]

NOTE_CHARS_MAX = 2_000


class Question(TypedDict):
    """The question, and what a person needs to know to answer it."""

    question: str
    root: str
    threshold: Threshold
    over: int  # Functions over the threshold.
    functions: list[Function]  # The worst of them.
    answer: dict[str, str]  # The form of an answer.


class Verdict(TypedDict):
    """A person's answer, as it is recorded."""

    decision: Literal["accept", "flag"]
    note: str


def ask(census: Census, threshold: Threshold) -> Question:
    """Put the question whether the functions over the threshold are acceptable."""
    total = census["total"]
    over = total["counts"]["over"]
    worst = {
        (function["file"], function["line"], function["name"]): function
        for function in (*total["most_complex"], *total["longest"])
        if is_over(function, threshold)
    }
    return Question(
        question=(
            f"{over} function{' is' if over == 1 else 's are'} over the threshold (complexity "
            f"{threshold['complexity']}, length {threshold['lines']} lines). Accept or flag?"
        ),
        root=total["name"],
        threshold=threshold,
        over=over,
        functions=list(worst.values()),
        answer={"decision": "accept or flag", "note": "text, may be left out"},
    )


def read_answer(answer: object) -> Verdict:
    """Return the verdict that an answer holds.

    Raises:
        ValueError: when it holds anything but a decision, "accept" or "flag", and perhaps a note.
    """
    if not isinstance(answer, dict) or not answer.keys() <= {"decision", "note"}:
        message = f'an answer is {{"decision": "accept" or "flag", "note": text}}, not {answer!r}'
        raise ValueError(message)
    decision, note = answer.get("decision"), answer.get("note", "")
    if decision not in ("accept", "flag"):
        message = f'decision must be "accept" or "flag", not {decision!r}'
        raise ValueError(message)
    if not isinstance(note, str) or len(note) > NOTE_CHARS_MAX:
        message = f"note must be text of at most {NOTE_CHARS_MAX:,} characters, not {note!r:.80}"
        raise ValueError(message)
    return Verdict(decision=decision, note=note)
