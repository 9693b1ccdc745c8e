"""`graphstalk submit | resume | cancel`: commands that change a thread."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import click

from orchestrator.cli.command_options import (
    as_json_option,
    connecting,
    graphs_option,
    open_client,
    open_reader,
    read_json,
)
from orchestrator.cli.exits import CommandError, Exit, exit_of, line_of
from orchestrator.cli.output import json_line, say, show, show_json
from orchestrator.errors import CheckpointerUnavailableError, GraphPausedError

if TYPE_CHECKING:
    from orchestrator.client.client import Client
    from orchestrator.client.handle import RunHandle
    from orchestrator.engine.accept import Multitask

wait_option = click.option(
    "--wait", is_flag=True, help="Wait for the run to end, then print its state."
)
timeout_option = click.option(
    "--timeout", type=click.FloatRange(min=0), metavar="S", help="With --wait: at most S seconds."
)


@click.command()
@click.argument("graph")
@click.argument("input_json", metavar="[INPUT]", required=False)
@click.option("--thread", metavar="ID", help="The thread to run on. Default: a new one.")
@click.option(
    "--key", metavar="K", help="Submit at most once: a second call with K finds the first run."
)
@click.option(
    "--multitask-strategy",
    "strategy",
    type=click.Choice(["reject", "enqueue", "interrupt", "rollback"]),
    default="reject",
    help="If the thread has a run already: refuse, wait until it has ended, stop it, or stop it "
    "and roll back its steps.",
)
@click.option("--queue", metavar="Q", help="The queue of the steps whose nodes name none.")
@click.option(
    "--context", "context_json", metavar="JSON", help="What nodes get as runtime.context."
)
@click.option(
    "--resumes-max",
    type=click.IntRange(min=0),
    metavar="N",
    help="How often the run may be resumed after it failed or crashed.",
)
@click.option(
    "--on-corrupt",
    type=click.Choice(["raise", "restart"]),
    default="raise",
    help="If no checkpoint of the thread is whole: refuse, or begin on an empty state.",
)
@wait_option
@timeout_option
@graphs_option
@as_json_option
@connecting
def submit(  # noqa: PLR0913  # One for each option.
    *,
    graph: str,
    input_json: str | None,
    thread: str | None,
    key: str | None,
    strategy: Multitask,
    queue: str | None,
    context_json: str | None,
    resumes_max: int | None,
    on_corrupt: Literal["raise", "restart"],
    wait: bool,
    timeout: float | None,
    graphs: dict[str, str],
    as_json: bool,
    url: str | None,
) -> int:
    """Start a run of GRAPH on the fleet.

    INPUT is JSON, @FILE with JSON in it, or - for standard input. Without --wait the command
    returns as soon as the run is stored: from then on it cannot be lost.
    """
    wait_s = patience(wait=wait, timeout=timeout)  # Wrong usage is refused before a run is stored.
    value = read_json(input_json, "INPUT")
    client = open_client(url, graphs)
    handle = client.submit(
        graph,
        value,
        thread_id=thread,
        key=key,
        config={} if resumes_max is None else {"resumes_max": resumes_max},
        context=read_json(context_json, "--context"),
        on_corrupt=on_corrupt,
        multitask_strategy=strategy,
        queue=queue,
    )
    if wait_s != 0 and not graphs:  # The result is shown with the classes of this folder.
        client = open_reader(url)
        handle = replace(handle, client=client)
    return follow(client, handle, wait_s, as_json=as_json)


@click.command()
@click.argument("thread")
@click.argument("value_json", metavar="[VALUE]", required=False)
@click.option(
    "--interrupt",
    metavar="ID|KEY",
    help="Which question VALUE answers, if several are open: its id, or its key.",
)
@wait_option
@timeout_option
@graphs_option
@as_json_option
@connecting
def resume(  # One for each option.
    *,
    thread: str,
    value_json: str | None,
    interrupt: str | None,
    wait: bool,
    timeout: float | None,
    graphs: dict[str, str],
    as_json: bool,
    url: str | None,
) -> int:
    """Answer what THREAD waits for, or let it continue.

    VALUE is the answer: JSON (also null, {} and false), @FILE with JSON in it, or - for standard
    input. Without VALUE a thread continues that failed or was paused, and asks nothing.
    """
    wait_s = patience(wait=wait, timeout=timeout)
    value = read_json(value_json, "VALUE")
    client = open_reader(url, graphs)
    if value_json is None:
        refuse_silence(client, thread)
        handle = client.carry_on(thread)
    else:
        handle = client.resume(thread, value, interrupt_id=interrupt)
    return follow(client, handle, wait_s, as_json=as_json)


@click.command()
@click.argument("thread")
@as_json_option
@connecting
def cancel(*, thread: str, as_json: bool, url: str | None) -> int:
    """Cancel the run of THREAD.

    Its committed steps stay. A step that runs now cannot commit any more.
    """
    client = open_client(url)
    client.cancel(thread)
    status = str(client.status(thread))
    if as_json:
        show_json({"thread_id": thread, "status": status})
    else:
        show(f"thread {thread}: {status}")
    return Exit.OK


def patience(*, wait: bool, timeout: float | None) -> float | None:
    """Return how many seconds to wait for the end of a run; 0 means not at all, None for ever.

    Raises:
        click.UsageError: if there is a time to wait, but nothing to wait for.
    """
    if not wait and timeout is not None:
        msg = "--timeout says how long to --wait: give both"
        raise click.UsageError(msg)
    return timeout if wait else 0


def refuse_silence(client: Client, thread: str) -> None:
    """Refuse to resume without an answer a thread that asks for one.

    Raises:
        CommandError: with the questions that are open.
    """
    questions = client.questions(thread)
    if questions:
        asked = "; ".join(f"{id_}: {json_line(value)}" for id_, value in questions.items())
        msg = f"thread {thread} waits for an answer: give VALUE as JSON. Open: {asked}"
        raise CommandError(msg, Exit.USAGE)


def follow(client: Client, handle: RunHandle, wait_s: float | None, *, as_json: bool) -> int:
    """Print the started run; with `--wait`, wait for its end and print its outcome.

    Raises:
        GraphstalkError: if the run failed, or did not end in time.
    """
    report: dict[str, Any] = {"thread_id": handle.thread_id, "run_id": handle.run_id}
    code = Exit.OK
    if wait_s != 0:
        if not as_json:
            say(f"thread {handle.thread_id}: waiting for run {handle.run_id}")
        try:
            report["values"] = handle.result(wait_s)
        except GraphPausedError as error:
            code = exit_of(error)
            asked = client.questions(handle.thread_id)
            report["interrupts"] = [{"id": id_, "value": value} for id_, value in asked.items()]
    try:
        report["status"] = str(handle.status)
    except CheckpointerUnavailableError as error:  # The request is stored all the same.
        report["status"] = "unknown"
        say(f"{line_of(error)}; run {handle.run_id} is stored, only its status is not known")
    if as_json:
        show_json(report)
    else:
        show_report(report)
    return code


def show_report(report: dict[str, Any]) -> None:
    """Print the outcome of a run, for people."""
    thread, status = report["thread_id"], report["status"]
    if "values" in report:
        show(json_line(report["values"]))
    elif "interrupts" in report:
        show(f"thread {thread}: {status}, waits for an answer")
        for question in report["interrupts"]:
            show(f"  {question['id']}  {json_line(question['value'])}")
        say(f"answer with: graphstalk resume {thread} VALUE")
    else:
        show(f"thread {thread}: {status} (run {report['run_id']})")
