"""Threads that are deleted while, or after, somebody works on them."""

from __future__ import annotations

import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from orchestrator import (
    Command,
    CompiledStateGraph,
    GraphstalkError,
    NoPendingInterruptError,
    ThreadBusyError,
    UnknownThreadError,
)
from orchestrator.client.thread_calls import Calls
from tests.fixtures.processes import resolved
from tests.semantics.places import Place, apart


def delete(place: Place, graph: CompiledStateGraph, **options: Any) -> None:
    """Delete the thread from outside."""
    if place.kind == "fleet":
        place.fleet.client.delete(place.thread, **options)
    else:
        Calls(graph.checkpointer, graph.records).delete(place.thread, **options)


def test_a_paused_thread_that_is_deleted_asks_nothing_and_begins_anew(place: Place) -> None:
    graph = place.graph("asks")
    place.call(graph, {})
    delete(place, graph)
    assert graph.get_state(place.thread).values == {}
    assert list(graph.get_state_history(place.thread)) == []
    with pytest.raises((UnknownThreadError, NoPendingInterruptError)):
        graph.invoke(Command(resume="late"), place.thread)
    with pytest.raises(UnknownThreadError):
        delete(place, graph)
    assert "log" in place.call(graph, {})
    assert place.ran() == ["work", "ask", "work", "ask"]


def test_what_a_process_does_for_a_deleted_thread_changes_nothing(place: Place) -> None:
    graph, outside = place.graph("overtaken"), place.graph("overtaken")
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(place.call, graph, {})
        place.wait_ran("work")
        with pytest.raises(ThreadBusyError, match="cancel"):
            delete(place, outside)
        delete(place, outside, cancel=True)
        assert outside.get_state(place.thread).values == {}
        place.open("end")
        again = outside.invoke({"witness": place.witness, "log": ["new"]}, place.thread)
        assert again["log"] == ["new", "work", "end"]
        place.open("work")  # The first attempt goes on, for a thread that is another now.
        with pytest.raises(GraphstalkError):
            run.result()
    if place.kind == "fleet":
        place.wait_until(lambda: place.fleet.stats("stale_refused"), "its commit is refused")
    assert place.values(outside)["log"] == ["new", "work", "end"]
    assert len(list(outside.get_state_history(place.thread))) == 4


@pytest.mark.parametrize("kind", apart("fleet"), indirect=True)
def test_a_handle_of_a_deleted_thread_says_so(place: Place) -> None:
    client = place.fleet.client
    handle = client.submit("asks", {"witness": place.witness}, thread_id=place.thread)
    place.wait_until(lambda: handle.status == "paused", "it asks")
    client.delete(place.thread)
    for call in (
        lambda: handle.status,
        lambda: handle.result(5),
        lambda: list(handle.stream()),
        handle.cancel,
        lambda: client.get_state(place.thread),
        lambda: client.resume(place.thread, "late"),
    ):
        with pytest.raises(UnknownThreadError, match="deleted"):
            call()
    assert place.thread not in {thread.thread_id for thread in client.threads()}


@pytest.mark.parametrize("kind", apart("fleet"), indirect=True)
def test_threads_are_deleted_by_the_command_line(place: Place) -> None:
    client, names = place.fleet.client, []
    for _ in range(2):
        names.append(place.another())
        client.submit("asks", {"witness": place.witness}, thread_id=names[-1])
        place.wait_until(lambda: client.status(names[-1]) == "paused", "it asks")

    def command(*options: str) -> subprocess.CompletedProcess[bytes]:
        argv = resolved(["graphstalk", "threads", "delete", *names, "nobody", *options])
        env = {**os.environ, **place.fleet.variables}
        return subprocess.run(
            argv, env=env, stdin=subprocess.DEVNULL, capture_output=True, check=False
        )

    assert command("--json").returncode == 2
    assert client.status(names[0]) == "paused"
    done = command("--yes", "--json")
    assert done.returncode == 3
    told = json.loads(done.stdout)
    assert told["deleted"] == names
    assert told["refused"]["nobody"]["code"] == "UNKNOWN_THREAD"
    assert not {thread.thread_id for thread in client.threads()} & set(names)
