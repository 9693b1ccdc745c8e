"""Which questions of a thread are open, and which answer is whose."""

import pytest

from orchestrator.engine.questions import answers_given, answers_to, open_questions, placed
from orchestrator.errors import NoPendingInterruptError, UnknownInterruptError
from orchestrator.model.checkpoint import Head, Interrupt, RunStatus
from orchestrator.model.commit import (
    LoadedStep,
    LoadedThread,
    ReadyStep,
    StoredCheckpoint,
    Wait,
)

ONE, TWO, THREE = "1" * 32, "2" * 32, "3" * 32


def step(node, *asks, wait=Wait.ANSWER, completed=False, answers=()):
    ready = ReadyStep(thread_id="t", step_id=f"id of {node}", checkpoint_id=1, graph="g", node=node)
    return LoadedStep(
        step=ready,
        wait=wait,
        completed=completed,
        asks=dict.fromkeys(asks, b"?"),
        answers=dict.fromkeys(answers, b""),
    )


def thread(*steps, status=RunStatus.PAUSED):
    head = Head(graph="g", fingerprint="", run_id="r", status=status, checkpoint_id=1)
    return LoadedThread(
        head=head,
        checkpoint=StoredCheckpoint(id=1, header=b"", plan=b""),
        blobs={},
        steps={one.step.step_id: one for one in steps},
    )


ASKS_ONE = thread(step("a", ONE))
ASKS_TWO = thread(step("a", ONE), step("b", TWO))


def test_a_question_is_open_while_its_step_waits_for_an_answer():
    asks = step("a", ONE, TWO)
    others = [
        step("completed", THREE, completed=True),
        step("failed", THREE, wait=Wait.PERSON),
        step("runs", THREE, wait=Wait.NOTHING),
    ]
    assert open_questions(thread(asks, *others)) == {ONE: asks, TWO: asks}


def test_a_question_that_was_answered_is_open_no_more():
    asks = step("a", ONE, TWO, answers=[ONE])
    assert open_questions(thread(asks)) == {TWO: asks}


@pytest.mark.parametrize("answer", ["yes", None, {}, [], {"a": 1}, {"F" * 32: 1}, {ONE: 1, "b": 2}])
def test_the_one_open_question_gets_any_answer_that_names_none(answer):
    assert answers_given("t", ASKS_ONE, answer) == {ONE: answer}


def test_answers_by_id_go_to_the_questions_they_name():
    assert answers_given("t", ASKS_TWO, {TWO: "b"}) == {TWO: "b"}
    assert answers_given("t", ASKS_TWO, {TWO: "b", ONE: None}) == {ONE: None, TWO: "b"}


def test_an_answer_to_a_question_that_is_named_beside_it_is_taken_as_it_is():
    assert answers_given("t", ASKS_TWO, {THREE: "data"}, to=TWO) == {TWO: {THREE: "data"}}


@pytest.mark.parametrize("to", [None, THREE])
def test_an_unknown_question_is_named_with_those_that_are_open(to):
    resume = {ONE: "x", THREE: "y"} if to is None else "y"
    with pytest.raises(UnknownInterruptError) as caught:
        answers_given("t", ASKS_TWO, resume, to)
    error = caught.value
    assert (error.reason, error.interrupt_ids, error.pending_ids) == (
        "not_pending",
        (THREE,),
        (ONE, TWO),
    )
    assert f"Open: {ONE} (a), {TWO} (b)" in str(error)


def test_one_answer_to_several_questions_must_say_which():
    with pytest.raises(
        UnknownInterruptError,
        match=r"asks 2 questions\. When there are multiple pending interrupts, you must",
    ) as caught:
        answers_given("t", ASKS_TWO, "yes")
    assert (caught.value.reason, caught.value.pending_ids) == ("ambiguous", (ONE, TWO))


@pytest.mark.parametrize("status", [RunStatus.SUCCEEDED, RunStatus.CANCELLED], ids=str)
def test_a_run_that_has_ended_takes_no_answer(status):
    with pytest.raises(NoPendingInterruptError, match=rf"'t' \({status}\) asks nothing"):
        answers_given("t", thread(step("a", ONE), status=status), {ONE: "yes"})


def test_a_thread_that_asks_nothing_takes_no_answer():
    with pytest.raises(NoPendingInterruptError, match="Nothing was stored"):
        answers_given("t", thread(step("a", wait=Wait.PERSON)), "yes")


@pytest.mark.parametrize("status", [RunStatus.RUNNING, RunStatus.FAILED, RunStatus.QUEUED])
def test_a_question_beside_steps_that_run_or_failed_takes_its_answer(status):
    assert answers_given("t", thread(step("a", ONE), status=status), "yes") == {ONE: "yes"}


# ---- of an earlier snapshot -----------------------------------------------------------------

PLAIN, KEYED, LAST = Interrupt("a", ONE), Interrupt("b", TWO, "k"), Interrupt("c", THREE)


def test_what_was_asked_earlier_may_get_another_answer():
    assert answers_to("t", [PLAIN], "yes") == {ONE: "yes"}
    assert answers_to("t", [PLAIN, KEYED], {TWO: "b"}) == {TWO: "b"}


@pytest.mark.parametrize(
    ("asked", "resume", "error", "text"),
    [
        ([], "yes", NoPendingInterruptError, "the snapshot of thread 't' asks nothing"),
        ([PLAIN], {THREE: "x"}, UnknownInterruptError, f"did not ask '{THREE}'. Asked: {ONE}"),
        (
            [PLAIN, KEYED],
            "yes",
            UnknownInterruptError,
            f"asked 2 questions; say which: {ONE}, {TWO}",
        ),
    ],
)
def test_an_answer_that_no_earlier_question_can_get_is_refused(asked, resume, error, text):
    with pytest.raises(NoPendingInterruptError) as caught:
        answers_to("t", asked, resume)
    assert type(caught.value) is error
    assert text in str(caught.value)


def test_in_a_branch_questions_are_known_by_their_places_in_the_node():
    given = {ONE: "a", TWO: "b", THREE: "c", "another step's": "d"}
    assert placed([PLAIN, KEYED, LAST], given) == {"index:0": "a", "key:k": "b", "index:2": "c"}
    assert placed([PLAIN, KEYED], {TWO: "b"}) == {"key:k": "b"}
