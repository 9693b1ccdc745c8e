"""A workflow can be a plain function: results of its tasks are kept, the rest runs again."""

import pytest

from orchestrator import Command, MemoryCheckpointer, entrypoint, interrupt, task


def test_after_a_pause_tasks_that_are_done_do_not_run_again():
    ran = []

    @task
    def write(topic):
        ran.append(topic)
        return f"about {topic}"

    @entrypoint(MemoryCheckpointer())
    def essay(topic):
        draft = write(topic).result()
        return draft if interrupt(draft) else "nothing"

    assert essay.invoke("foxes", "t")["__interrupt__"][0].value == "about foxes"
    assert essay.invoke(Command(resume=True), "t") == "about foxes"
    assert ran == ["foxes"]


def test_after_a_failure_only_the_task_that_failed_runs_again():
    ran = []

    @task
    def buy(thing):
        ran.append(thing)
        if ran == ["flour", "eggs"]:
            raise ConnectionError("the shop is closed")
        return thing

    @entrypoint(MemoryCheckpointer())
    def shopping(things):
        return [buy(thing).result() for thing in things]

    with pytest.raises(ConnectionError):
        shopping.invoke(["flour", "eggs"], "t")
    assert shopping.invoke(None, "t") == ["flour", "eggs"]
    assert ran == ["flour", "eggs", "eggs"]


def test_a_call_gives_a_future_so_tasks_run_side_by_side():
    @task
    def square(n):
        return n * n

    @entrypoint()
    def squares(numbers):
        futures = [square(n) for n in numbers]
        return [future.result() for future in futures]

    assert squares.invoke([3, 1, 2]) == [9, 1, 4]


def test_the_next_run_finds_what_the_last_one_saved():
    @entrypoint(MemoryCheckpointer())
    def total(n, *, previous=None):
        now = (previous or 0) + n
        return entrypoint.final(value=f"{now} so far", save=now)

    assert [total.invoke(n, "t") for n in (2, 5)] == ["2 so far", "7 so far"]
