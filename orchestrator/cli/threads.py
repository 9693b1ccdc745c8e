"""`graphstalk threads | threads delete | state | history | explain`: stored threads."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.command_options import (
    as_json_option,
    connecting,
    graphs_option,
    open_client,
    open_reader,
    traceback_option,
)
from orchestrator.cli.exits import CommandError, Exit, exit_of, line_of
from orchestrator.cli.output import aligned, instant, json_line, say, show, show_json
from orchestrator.errors import (
    GraphstalkError,
    InvalidThreadIdError,
    StateCorruptedError,
    ThreadBusyError,
    UnknownThreadError,
)
from orchestrator.model.checkpoint import RunStatus

if TYPE_CHECKING:
    from orchestrator.client.client import Client, ThreadInfo
    from orchestrator.client.snapshot import StateSnapshot
    from orchestrator.model.checkpoint import StepError

THREAD_KEYS = ("thread_id", "graph", "status", "run_id", "resumes", "created_ms", "updated_ms")
VALUE_CHARS_MAX = 100  # Of one value on a person's screen; --json prints it whole.

limit_option = click.option(
    "--limit",
    type=click.IntRange(1, 1000),
    default=100,
    show_default=True,
    help="Print at most N.",
)


@click.group(invoke_without_command=True)
@click.option(
    "--status",
    type=click.Choice([status.value for status in RunStatus]),
    help="Only threads whose run is in this state.",
)
@limit_option
@graphs_option
@as_json_option
@connecting
@click.pass_context
def threads(  # One for each option.
    ctx: click.Context,
    *,
    status: str | None,
    limit: int,
    graphs: dict[str, str],
    as_json: bool,
    url: str | None,
) -> int:
    """List threads, the latest changed first. With --json one object a line."""
    if ctx.invoked_subcommand is not None:
        if status is not None or url is not None or graphs:
            msg = f"options of {ctx.invoked_subcommand} come after it"
            raise click.UsageError(msg)
        return Exit.OK
    client = open_reader(url, graphs)
    found = [thread_record(client, thread) for thread in client.threads(status=status, limit=limit)]
    if as_json:
        for thread in found:
            show_json(thread)
    elif found:
        head = ("THREAD", "GRAPH", "STATUS", "RESUMES", "CHANGED", "WAITS FOR")
        show(aligned(head, [thread_row(thread) for thread in found]))
    else:
        say("no threads" if status is None else f"no {status} threads")
    return Exit.OK


@threads.command()
@click.argument("thread_ids", metavar="ID...", nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--cancel", is_flag=True, help="Cancel runs that have not ended first.")
@as_json_option
@connecting
def delete(
    *, thread_ids: tuple[str, ...], yes: bool, cancel: bool, as_json: bool, url: str | None
) -> int:
    """Delete threads with their subgraphs, values and logs. They cannot be restored."""
    names = list(dict.fromkeys(thread_ids))
    if not yes:
        _confirm(names, can_ask=not as_json and sys.stdin.isatty())
    client, refused = open_client(url), dict[str, GraphstalkError]()
    for name in names:
        try:
            client.delete(name, cancel=cancel)
        except (UnknownThreadError, ThreadBusyError, InvalidThreadIdError) as error:
            refused[name] = error
            say(line_of(error))
        else:
            say(f"deleted {name}")
    if as_json:
        reasons = {name: {"code": e.code, "message": str(e)} for name, e in refused.items()}
        show_json({"deleted": [name for name in names if name not in refused], "refused": reasons})
    return exit_of(next(iter(refused.values()))) if refused else Exit.OK


def _confirm(names: list[str], *, can_ask: bool) -> None:
    """Ask whether these threads shall be deleted.

    Raises:
        CommandError: if there is no terminal to ask on.
        click.Abort: if not.
    """
    what = names[0] if len(names) == 1 else f"{len(names)} threads"
    if not can_ask:
        msg = f"deleting must be confirmed, and there is no terminal to ask on ({what}): give --yes"
        raise CommandError(msg, Exit.USAGE)
    click.confirm(f"Delete {what}? They cannot be restored", abort=True, err=True)


@click.command()
@click.argument("thread")
@graphs_option
@as_json_option
@traceback_option
@connecting
def state(
    *,
    thread: str,
    graphs: dict[str, str],
    as_json: bool,
    with_traceback: bool,
    url: str | None,
) -> int:
    """Show the state of THREAD: its values, next nodes, errors and questions.

    A value of a class that no graph here names is shown as its type and fields.
    """
    snapshot = open_reader(url, graphs).get_state(thread)
    if as_json:
        show_json(snapshot_record(snapshot))
        return Exit.OK
    for name, value in sorted(snapshot.values.items()):
        show(f"{name} = {shortened(json_line(value))}")
    say(f"next: {folded(snapshot.next) or 'nothing'}")
    for error in errors_of(snapshot):
        say(f"failed in node {error.node}, attempt {error.attempt}: {error.type}: {error.message}")
        if with_traceback:
            say(error.traceback.rstrip())
    for question in snapshot.interrupts:
        say(f"waits for an answer to {question.id}: {json_line(question.value)}")
    return Exit.OK


@click.command()
@click.argument("thread")
@limit_option
@graphs_option
@as_json_option
@connecting
def history(
    *, thread: str, limit: int, graphs: dict[str, str], as_json: bool, url: str | None
) -> int:
    """List the checkpoints of THREAD, newest first.

    With --json one object a line, values included.
    """
    snapshots: Iterator[StateSnapshot] = iter(open_reader(url, graphs).history(thread, limit=limit))
    if as_json:
        for snapshot in snapshots:
            show_json(snapshot_record(snapshot))
    else:
        head = ("CHECKPOINT", "STEP", "SOURCE", "CREATED", "NEXT", "FAILED")
        show(aligned(head, [snapshot_row(snapshot) for snapshot in snapshots]))
    return Exit.OK


def thread_record(client: Client, thread: ThreadInfo) -> dict[str, Any]:
    """Return a thread as `--json` prints it, with the ids of the questions that pause it."""
    asked: Iterable[str] = ()
    if thread.status == RunStatus.PAUSED:
        try:
            asked = client.questions(thread.thread_id)
        except StateCorruptedError as error:
            say(f"{thread.thread_id}: {error}")
    known = {key: getattr(thread, key) for key in THREAD_KEYS}
    return {**known, "status": str(thread.status), "waiting_for": list(asked)}


def thread_row(thread: dict[str, Any]) -> tuple[object, ...]:
    """Return the columns of a thread, for people."""
    return (
        thread["thread_id"],
        thread["graph"],
        thread["status"],
        thread["resumes"],
        instant(thread["updated_ms"]),
        shortened(", ".join(thread["waiting_for"]) or "-"),
    )


def checkpoint_id_of(snapshot: StateSnapshot) -> str:
    """Return the id of a snapshot's checkpoint."""
    return str((snapshot.config or {}).get("configurable", {}).get("checkpoint_id", ""))


def snapshot_record(snapshot: StateSnapshot) -> dict[str, Any]:
    """Return a snapshot as `--json` prints it."""
    return {
        "checkpoint_id": checkpoint_id_of(snapshot),
        "values": snapshot.values,
        "next": list(snapshot.next),
        "metadata": snapshot.metadata,
        "created_at": snapshot.created_at,
        "errors": [asdict(error) for error in errors_of(snapshot)],
        "interrupts": [{"id": each.id, "value": each.value} for each in snapshot.interrupts],
    }


def snapshot_row(snapshot: StateSnapshot) -> tuple[object, ...]:
    """Return the columns of a checkpoint, for people."""
    metadata = snapshot.metadata or {}
    return (
        checkpoint_id_of(snapshot),
        metadata.get("step", "-"),
        metadata.get("source", "-"),
        snapshot.created_at or "-",
        folded(snapshot.next) or "-",
        shortened(
            "; ".join(f"{e.node}: {e.type}: {e.message}" for e in errors_of(snapshot)) or "-"
        ),
    )


def errors_of(snapshot: StateSnapshot) -> list[StepError]:
    """Return the errors of a checkpoint's failed steps."""
    return [task.error for task in snapshot.tasks if task.error is not None]


def folded(names: Iterable[str]) -> str:
    """Return names for people, a name that occurs often once, with its number."""
    counts = Counter(names)
    shown = [name if count == 1 else f"{name} x {count}" for name, count in counts.items()]
    return shortened(", ".join(shown))


def shortened(text: str) -> str:
    """Return text that fits on a line of a screen."""
    return text if len(text) <= VALUE_CHARS_MAX else f"{text[: VALUE_CHARS_MAX - 1]}…"


# ---- graphstalk explain ---------------------------------------------------------------------


@click.command()
@click.argument("thread")
@click.option("--run", default="", metavar="RUN", help="A queued run of the thread.")
@graphs_option
@as_json_option
@traceback_option
@connecting
def explain(
    *,
    thread: str,
    run: str,
    graphs: dict[str, str],
    as_json: bool,
    with_traceback: bool,
    url: str | None,
) -> int:
    """Show what THREAD waits for: a worker, a lease, a timer, an answer, a person.

    With --graphs it also shows how often a step is tried.
    """
    with open_reader(url, graphs) as client:
        found = client.explain(thread, run)
    if as_json:
        show_json(found)
    else:
        show(f"{found.status}: {found}")
        if with_traceback:
            for reason in found.reasons:
                if reason.traceback:
                    show(reason.traceback.rstrip())
    return Exit.OK
