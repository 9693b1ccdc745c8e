"""Which questions of a thread are open, and which answer is whose. (INV-8)"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from orchestrator.errors import NoPendingInterruptError, UnknownInterruptError
from orchestrator.model.checkpoint import Interrupt
from orchestrator.model.commit import LoadedStep, LoadedThread, Wait
from orchestrator.model.lifecycle import RUNS, RunMove

__all__ = ["answers_given", "answers_to", "id_named", "open_questions", "placed"]


def open_questions(loaded: LoadedThread) -> dict[str, LoadedStep]:
    """Return the open interrupts of a thread: id → the step that asks."""
    return {
        question: step
        for step in loaded.steps.values()
        if not step.completed and step.wait is Wait.ANSWER
        for question in step.questions
    }


def id_named(
    loaded: LoadedThread, name: str | None, question: Callable[[bytes], Interrupt]
) -> str | None:
    """Return the id of the open interrupt that has this id or key; else the name as it is.

    Args:
        loaded: the thread at its head, with its steps.
        name: an id, or the key of a question.
        question: reads a stored question.

    Raises:
        UnknownInterruptError: if several open questions have this key.
    """
    questions = open_questions(loaded)
    if name is None or name in questions:
        return name
    found = [i for i, step in questions.items() if question(step.asks[i]).key == name]
    if len(found) > 1:
        msg = (
            f"an answer must name one question, and the key {name!r} names {len(found)}: use one "
            f"of the ids {', '.join(found)}"
        )
        raise UnknownInterruptError(msg, reason="ambiguous", pending_ids=found)
    return found[0] if found else name


def answers_given(
    thread_id: str, loaded: LoadedThread, resume: Any, to: str | None = None
) -> dict[str, Any]:
    """Return which open interrupt gets which answer.

    Args:
        thread_id: the thread.
        loaded: the thread at its head, with its steps.
        resume: the answer, or a mapping from interrupt id to answer.
        to: the id of the one interrupt that `resume` answers.

    Raises:
        NoPendingInterruptError: if nothing is open.
        UnknownInterruptError: if an id is not open, or several are and none is named.
    """
    can_answer = loaded.head.status in RUNS[RunMove.ANSWER].before
    questions = open_questions(loaded) if can_answer else {}
    if not questions:
        msg = (
            f"the thread {thread_id!r} ({loaded.head.status}) asks nothing, so there is nothing to "
            f"answer. Nothing was stored"
        )
        raise NoPendingInterruptError(msg)
    listed = ", ".join(f"{i} ({step.step.node})" for i, step in questions.items())
    if to is not None:
        given = {to: resume}
    elif isinstance(resume, Mapping) and resume and all(_is_interrupt_id(k) for k in resume):
        given = dict(resume)
    elif len(questions) > 1:
        msg = (
            f"the thread {thread_id!r} asks {len(questions)} questions. When there are multiple "
            f"pending interrupts, you must specify the interrupt id when resuming: {listed}"
        )
        raise UnknownInterruptError(msg, reason="ambiguous", pending_ids=[*questions])
    else:
        given = {next(iter(questions)): resume}
    unknown = [i for i in given if i not in questions]
    if unknown:
        msg = f"the thread {thread_id!r} has no open interrupt {unknown[0]!r}. Open: {listed}"
        raise UnknownInterruptError(
            msg, reason="not_pending", interrupt_ids=unknown, pending_ids=[*questions]
        )
    return given


def answers_to(thread_id: str, asked: Sequence[Interrupt], resume: Any) -> dict[str, Any]:
    """Return which question of an earlier snapshot gets which answer, as `answers_given`.

    Raises:
        NoPendingInterruptError: if nothing was asked there.
        UnknownInterruptError: if an id was not asked, or several were and none is named.
    """
    if not asked:
        msg = f"the snapshot of thread {thread_id!r} asks nothing, so there is nothing to answer"
        raise NoPendingInterruptError(msg)
    ids = [question.id for question in asked]
    listed = ", ".join(ids)
    if isinstance(resume, Mapping) and resume and all(_is_interrupt_id(k) for k in resume):
        unknown = [i for i in resume if i not in ids]
        if unknown:
            msg = (
                f"the snapshot of thread {thread_id!r} did not ask {unknown[0]!r}. Asked: {listed}"
            )
            raise UnknownInterruptError(msg, interrupt_ids=unknown, pending_ids=ids)
        return dict(resume)
    if len(ids) > 1:
        msg = (
            f"the snapshot of thread {thread_id!r} asked {len(ids)} questions; say which: {listed}"
        )
        raise UnknownInterruptError(msg, reason="ambiguous", pending_ids=ids)
    return {ids[0]: resume}


def placed(asked: Sequence[Interrupt], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return answers by the places of their questions in a node, which are the same in a branch."""
    places = [
        f"key:{question.key}" if question.key is not None else f"index:{index}"
        for index, question in enumerate(asked)
    ]
    pairs = zip(places, asked, strict=True)
    return {place: given[question.id] for place, question in pairs if question.id in given}


def _is_interrupt_id(text: object) -> bool:
    return isinstance(text, str) and len(text) == 32 and all(c in "0123456789abcdef" for c in text)
