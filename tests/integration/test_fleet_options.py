"""Every entrance to a fleet checks and honours the same options."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator import (
    CeleryExecutor,
    Client,
    Command,
    CompiledStateGraph,
    ConfigError,
    GraphPausedError,
    InvalidUpdateError,
    OptionError,
    ResumesExhaustedError,
    RunControl,
    RunNotFinishedError,
    StepFailedError,
    UnknownThreadError,
)
from orchestrator.cli import main
from tests.integration import option_graphs
from tests.integration.fleet import WAIT_S, Fleet
from tests.integration.option_graphs import Context

pytestmark = [pytest.mark.server, pytest.mark.slow]

NAMES = ("greets", "speaks", "asks", "fails", "looks")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("options")
    with Fleet(folder, module=option_graphs, names=NAMES) as fleet:
        fleet.start(concurrency=2)
        yield fleet


def on_fleet(fleet: Fleet, name: str) -> CompiledStateGraph:
    graph: CompiledStateGraph = getattr(option_graphs, name).copy()
    graph.executor = CeleryExecutor(settings=fleet.settings)
    graph.checkpointer = graph.executor.checkpointer()
    return graph


@pytest.mark.parametrize("context", [Context("Ada"), {"user": "Ada"}], ids=["instance", "dict"])
def test_a_submitted_run_gets_its_context(fleet: Fleet, context: Any) -> None:
    assert fleet.client.submit("greets", {}, context=context).result(WAIT_S)["text"] == "Ada (en)"
    with Client(settings=fleet.settings) as client:  # It has no graphs.
        given = {"user": "Bob", "language": "de"}
        assert client.submit("greets", {}, context=given).result(WAIT_S)["text"] == "Bob (de)"


def test_a_context_that_does_not_fit_is_refused_and_nothing_is_stored(fleet: Fleet) -> None:
    with pytest.raises(TypeError, match="unexpected keyword"):
        fleet.client.submit("greets", {}, thread_id="unfit", context={"usr": "Ada"})
    with pytest.raises(UnknownThreadError):
        fleet.client.get_state("unfit")


def test_the_command_gives_context_and_limits(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REDIS_URL", fleet.settings.url)
    wait = ["--wait", "--json"]
    given = ["--context", '{"user": "Eve"}', *wait]
    assert main(["submit", "greets", "{}", *given]) == 0
    assert json.loads(capsys.readouterr().out)["values"]["text"] == "Eve (en)"
    fails = ["submit", "fails", '{"text": "no"}', "--thread", "cli", "--resumes-max", "0"]
    assert main([*fails, *wait]) == 1
    assert main(["resume", "cli"]) == 1
    assert "RESUMES_EXHAUSTED" in capsys.readouterr().err


def test_resumes_max_holds_for_a_submitted_run(fleet: Fleet) -> None:
    config = {"resumes_max": 1, "configurable": {"thread_id": "resumed"}}
    handle = fleet.client.submit("fails", {"text": "no"}, config=config)
    assert handle.thread_id == "resumed"
    with pytest.raises(StepFailedError):
        handle.result(WAIT_S)
    with pytest.raises(StepFailedError):
        fleet.client.carry_on("resumed").result(WAIT_S)
    with pytest.raises(ResumesExhaustedError):
        fleet.client.carry_on("resumed")


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"multitask_strategy": "enque"}, OptionError, "'reject', 'enqueue'"),
        ({"on_corrupt": "ignore"}, OptionError, "'raise', 'restart'"),
        ({"on_pending": "keep"}, OptionError, "'discard'"),
        ({"stream_mode": "tokens"}, OptionError, "'messages'"),
        ({"interrupt_before": ["speak"]}, OptionError, "no option 'interrupt_before'"),
        ({"config": {"resumes_max": -1}}, ConfigError, "resumes_max"),
        ({"config": {"recursion_limit": 0}}, ConfigError, "recursion_limit"),
        ({"config": {"callbacks": [object()]}}, ConfigError, "callbacks must not"),
        ({"config": {"checkpoint_id": "1"}}, ConfigError, "names a thread only|latest|checkpoint"),
        ({"input": Command(resume="yes")}, InvalidUpdateError, r"client\.resume"),
        ({"input": {"txt": "typo"}}, InvalidUpdateError, "Did you mean 'text'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_submit_refuses_what_it_cannot_honour(
    fleet: Fleet, options: dict[str, Any], error: type[Exception], says: str
) -> None:
    given: dict[str, Any] = {"input": {}, **options}
    with pytest.raises(error, match=says):
        fleet.client.submit("speaks", given.pop("input"), thread_id="refused", **given)
    with pytest.raises(UnknownThreadError):
        fleet.client.get_state("refused")


@pytest.mark.parametrize(
    "options",
    [{"interrupt_before": "*"}, {"interrupt_after": ["speak"]}, {"control": RunControl()}],
    ids=lambda options: next(iter(options)),
)
def test_a_call_refuses_what_workers_cannot_honour(fleet: Fleet, options: dict[str, Any]) -> None:
    graph = on_fleet(fleet, "speaks")
    with pytest.raises(OptionError, match="must be absent for a run on a fleet"):
        graph.invoke({}, "call", **options)
    assert fleet.store.load("call") is None


def test_messages_of_a_submitted_run_can_be_read_if_it_was_started_so(fleet: Fleet) -> None:
    handle = fleet.client.submit("speaks", {}, stream_mode=["messages", "updates"])
    tokens = [
        part.data[0].content for part in handle.stream(stream_mode="messages", timeout=WAIT_S)
    ]
    assert "".join(tokens) == "one two"
    # Again, and by a client that does not have the graph.
    with Client(settings=fleet.settings) as client:
        again = client.stream(handle.thread_id, stream_mode="messages", timeout_s=WAIT_S)
        assert [part.data[0].content for part in again] == tokens


def test_messages_that_were_not_kept_are_an_error_that_says_so(fleet: Fleet) -> None:
    handle = fleet.client.submit("speaks", {})
    with pytest.raises(OptionError, match=r"submit\(…, stream_mode='messages'\)"):
        list(handle.stream(stream_mode=["updates", "messages"], timeout=WAIT_S))
    assert [part.mode for part in handle.stream(timeout=WAIT_S)] == ["updates"]
    with pytest.raises(GraphPausedError):
        fleet.client.submit("asks", {}, thread_id="asks").result(WAIT_S)
    graph = on_fleet(fleet, "asks")
    with pytest.raises(OptionError, match="messages"):
        list(graph.stream(Command(resume="yes"), "asks", stream_mode="messages"))
    assert graph.get_state("asks").next == ("ask",)
    assert graph.invoke(Command(resume="yes"), "asks")["answer"] == "yes"
    streamed = [m.content for m, _ in graph.stream({}, "fresh", stream_mode="messages")]
    assert streamed == []  # It asks first.
    streamed = [
        m.content for m, _ in graph.stream(Command(resume="y"), "fresh", stream_mode="messages")
    ]
    assert "".join(streamed) == "one two"


def test_a_tool_that_can_only_be_awaited_is_a_node_of_a_fleet(fleet: Fleet) -> None:
    assert fleet.client.submit("looks", {"text": "it"}).result(WAIT_S)["answer"] == "found it"
    called = on_fleet(fleet, "looks").ainvoke({"text": "it"}, "awaited")
    assert asyncio.run(called)["answer"] == "found it"


def test_a_handle_waits_until_its_run_has_come_so_far(fleet: Fleet) -> None:
    handle = fleet.client.submit("asks", {"text": "a"})
    assert handle.wait(until="paused", timeout=WAIT_S).interrupts[0].value == "sure?"
    assert handle.wait(timeout=WAIT_S).next == ("ask",)
    assert handle.wait(lambda state: "text" in state.values, timeout=WAIT_S).values["text"] == "a"
    with pytest.raises(RunNotFinishedError, match="is paused after 0"):
        handle.wait(until=["succeeded", "failed"], timeout=0)
    with pytest.raises(OptionError, match="'succeeded'"):
        handle.wait(until="done")
    fleet.client.resume(handle.thread_id, "yes")
    assert asyncio.run(handle.await_until("succeeded", WAIT_S)).values["answer"] == "yes"
    with pytest.raises(RunNotFinishedError, match="ended as succeeded"):
        handle.wait(until="paused", timeout=WAIT_S)
    failed = fleet.client.submit("fails", {"text": "no"})
    assert failed.wait(timeout=WAIT_S).tasks[0].error.message == "no"
