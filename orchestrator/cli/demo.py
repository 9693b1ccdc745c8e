"""`graphstalk demo`: a fleet counts source files, one of its workers is killed, nothing is lost.

The end of the demo, also by an error, ends its workers and server and deletes its folders and keys.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.command_options import as_json_option, debug_option, with_fleet
from orchestrator.cli.exits import CommandError, Exit
from orchestrator.cli.output import aligned, say, show, show_json

if TYPE_CHECKING:
    from orchestrator.cli.trial import Report, Setup

OWN_KEYS_PAGE = 1000
REPORT_FILES = {"report_markdown": ".md", "report_svg": ".svg"}
WORDS = {
    "threads": "threads",
    "finished": "finished",
    "steps_committed": "steps committed",
    "kills": "workers killed (kill -9)",
    "reexecuted": "steps run again",
    "lost": "steps lost",
    "duplicated": "steps committed twice",
    "takeover_s": "slowest takeover after a kill (s)",
    "wall_s": "wall time (s)",
}


@dataclass(frozen=True, slots=True)
class Site:
    """Where a demo runs."""

    url: str
    folder: Path  # For logs, and for the server's data if the server is ours.
    kept: bool


@click.command()
@click.option(
    "--path",
    type=click.Path(exists=True, file_okay=False),
    help="The Python sources to count. Default: the standard library.",
)
@click.option(
    "--threads",
    default=8,
    show_default=True,
    type=click.IntRange(1, 1000),
    help="Threads to divide the work into.",
)
@with_fleet
@click.option(
    "--kills",
    default=1,
    show_default=True,
    type=click.IntRange(min=0),
    help="Workers to kill while they run steps.",
)
@click.option(
    "--replace-after",
    type=click.FloatRange(min=0),
    metavar="S",
    help="Start a killed worker again after S seconds.",
)
@click.option(
    "--timeout",
    default=900.0,
    show_default=True,
    type=click.FloatRange(min=1),
    metavar="S",
    help="Give up after S seconds.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write the reports of the census (Markdown, SVG) here.",
)
@click.option("--keep", is_flag=True, help="Keep the data and the logs, and say where.")
@as_json_option
@debug_option
def demo(  # noqa: PLR0913  # One for each option.
    *,
    path: str | None,
    threads: int,
    workers: int,
    concurrency: int,
    kills: int,
    replace_after: float | None,
    timeout: float,
    out: Path | None,
    keep: bool,
    as_json: bool,
) -> int:
    """Count source files on a fleet, kill a worker, and account for every step.

    Starts a server and workers, submits a census of Python sources as several threads, kills a
    whole worker with SIGKILL while it runs steps, answers the reviews that the census asks for, and
    shows the outcome of every step. Exit code 1 if one is lost or committed twice, or a thread is
    unfinished.
    """
    if kills >= workers and replace_after is None:
        msg = (
            f"--kills {kills} leaves none of {workers} workers: give more --workers, or "
            "--replace-after S"
        )
        raise click.UsageError(msg)
    from orchestrator.cli.processes import raise_on_stop_signals  # --help must not pay.
    from orchestrator.cli.trial import Setup

    setup = Setup(
        inputs=census_inputs(path, threads),
        workers=workers,
        concurrency=concurrency,
        kills=kills,
        replace_after_s=replace_after,
        timeout_s=timeout,
    )
    with raise_on_stop_signals(), site(keep=keep) as where:
        report, gaps = perform(where, setup, out)
    return conclude(report, setup, gaps, as_json=as_json)


def census_inputs(path: str | None, threads: int) -> Sequence[Mapping[str, object]]:
    """Return one input for each thread.

    Raises:
        CommandError: if the example is not here, or the folder holds nothing to count.
    """
    try:
        from examples.census import inputs  # Only the demo needs the example.
    except ModuleNotFoundError as error:
        msg = (
            f"the demo runs examples/census of the project's sources, which is not here ({error}): "
            "run it from a clone with ./run demo"
        )
        raise CommandError(msg, Exit.NOT_FOUND) from error
    try:
        return inputs(path, threads)
    except (ValueError, OSError) as error:
        raise CommandError(str(error), Exit.USAGE) from error


@contextlib.contextmanager
def site(*, keep: bool) -> Iterator[Site]:
    """Have a folder, a server and a namespace of our own for as long as the context lasts."""
    from orchestrator.cli.embedded import EmbeddedServer, find_server

    found = find_server()
    with contextlib.ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="graphstalk-demo-"))
        if keep:
            stack.callback(say, f"kept; open it with: graphstalk dev --data {folder}")
        else:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        if found.url is None:
            url = stack.enter_context(EmbeddedServer(folder, binary=found.binary)).url
            say(f"embedded server ({found.source}) at {url}")
        else:
            url = found.url
            stack.enter_context(own_namespace(url, keep=keep))
        yield Site(url, folder, keep)


@contextlib.contextmanager
def own_namespace(url: str, *, keep: bool, prefix: str = "demo") -> Iterator[str]:
    """Use keys and a queue of our own on a given server; delete them at the end."""
    from orchestrator.config import without_password

    name = f"{prefix}-{secrets.token_hex(4)}"
    mine = {"GRAPHSTALK_NAMESPACE": name, "GRAPHSTALK_QUEUE": name}
    before = {key: os.environ.get(key) for key in mine}
    os.environ.update(mine)
    say(f"server {without_password(url)} (REDIS_URL), namespace {name}")
    try:
        yield name
    finally:
        for key, value in before.items():
            os.environ.pop(key) if value is None else os.environ.update({key: value})
        if not keep:
            delete_keys(url, name)


def delete_keys(url: str, namespace: str) -> None:
    """Delete every key whose name holds a namespace that is ours alone."""
    import redis

    with redis.Redis.from_url(url) as server:
        for key in server.scan_iter(match=f"*{namespace}*", count=OWN_KEYS_PAGE):
            server.unlink(key)


def perform(where: Site, setup: Setup, out: Path | None) -> tuple[Report, int]:
    """Run the trial; return its report, and how many events are missing from its record."""
    from examples.census import graph
    from orchestrator.checkpointer.redis.store import RedisCheckpointer
    from orchestrator.cli.board import open_board
    from orchestrator.cli.trial import GRAPH, run_trial
    from orchestrator.client.client import Client

    with Client(where.url, graphs={GRAPH: graph}) as client:
        store = RedisCheckpointer(settings=client.settings)
        with contextlib.closing(store), open_board() as board:
            report, watch = run_trial(client, store, where.folder, setup, board)
        if out is not None:
            for thread in watch.threads:
                write_reports(out, thread, client.get_state(thread).values)
            say(f"reports are in {out}")
    return report, sum(account.gaps for account in watch.accounts())


def write_reports(out: Path, thread: str, values: Mapping[str, Any]) -> None:
    """Write the reports of a finished census."""
    out.mkdir(parents=True, exist_ok=True)
    for name, ending in REPORT_FILES.items():
        text = values.get(name)
        if isinstance(text, str):
            (out / f"{thread}{ending}").write_text(text, encoding="utf-8")


def conclude(report: Report, setup: Setup, gaps: int, *, as_json: bool) -> int:
    """Print the report; return its exit code."""
    fields = asdict(report)
    table = aligned(
        ("census", ""),
        [(words, "-" if fields[key] is None else fields[key]) for key, words in WORDS.items()],
    )
    say("")
    (say if as_json else show)(table)
    if report.kills < setup.kills:
        say(
            f"only {report.kills} of {setup.kills} kills hit a running step before the work was "
            "done"
        )
    if gaps:
        say(f"{gaps} events are missing from the record, so this account is not complete")
    if as_json:
        show_json(fields)
    whole = report.finished == report.threads and not (report.lost or report.duplicated or gaps)
    return Exit.OK if whole else Exit.FAILURE
