"""`graphstalk dev`: a server, workers and, if wanted, Flower, in one terminal.

Rule 1: everything listens on the loopback address only.
Rule 2: whatever ends this command ends what it started: workers first, so that they can commit,
        then the server.
Rule 3: a process that dies at its start ends the command; a worker that dies later is started
        again, because killing one is what people are invited to try.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.command_options import debug_option, graphs_option, with_fleet
from orchestrator.cli.exits import CommandError, Exit
from orchestrator.cli.output import colour_allowed, say
from orchestrator.cli.worker import LEVELS, POOLS, worker_arguments

if TYPE_CHECKING:
    from orchestrator.cli.processes import Child, Fleet

FLOWER_PORT = 5555
START_S = 5.0  # A process that dies before this age did not start.
RESTART_DELAY_S = 2.0  # Long enough to watch the other workers take the steps over.
POLL_S = 0.1
COLOURS = ("cyan", "green", "magenta", "yellow", "blue", "red")


@dataclass(frozen=True, kw_only=True)
class Flower:
    """Where Flower is to listen."""

    port: int

    @property
    def command(self) -> list[str]:
        """The command that starts it."""
        flower = [sys.executable, "-m", "celery", "-A", "workers.app", "flower"]
        return [*flower, "--address=127.0.0.1", f"--port={self.port}"]


@click.command()
@with_fleet
@click.option("--pool", type=click.Choice(POOLS), help="How a worker runs steps side by side.")
@click.option("--queues", "-Q", metavar="A,B", help="The queues to take steps from.")
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=None,
    help="The data folder.  [default: .graphstalk]",
)
@click.option(
    "--port", type=click.IntRange(1, 65535), help="The server's port. Default: a free one."
)
@click.option("--flower", "with_flower", is_flag=True, help="Start Flower too, to monitor tasks.")
@click.option(
    "--flower-port",
    default=FLOWER_PORT,
    show_default=True,
    type=click.IntRange(1, 65535),
    help="Flower's port.",
)
@click.option(
    "--loglevel",
    "-l",
    default="info",
    show_default=True,
    type=click.Choice(LEVELS),
    help="What workers log.",
)
@graphs_option
@debug_option
def dev(  # noqa: PLR0913  # One for each option.
    *,
    workers: int,
    concurrency: int,
    pool: str | None,
    queues: str | None,
    data: Path | None,
    port: int | None,
    with_flower: bool,
    flower_port: int,
    loglevel: str,
    graphs: dict[str, str],
) -> int:
    """Start a server and workers here, for development.

    The server keeps its data in a folder, so that the next start continues where this one stopped.
    If REDIS_URL is set, that server is used and none is started. Ctrl-C stops everything in order.
    """
    from orchestrator.cli.processes import (
        Fleet,
        raise_on_stop_signals,
        start_child,
        worker_environment,
    )

    flower = Flower(port=flower_port) if with_flower else None
    if flower is not None and importlib.util.find_spec("flower") is None:
        msg = "Flower is not installed: pip install 'graphstalk[flower]'"
        raise CommandError(msg)
    arguments = worker_arguments(
        concurrency=concurrency, queues=queues, pool=pool, loglevel=loglevel
    )
    with raise_on_stop_signals(), scratch() as folder, serving(data, port) as url:
        env = worker_environment(url, folder, graphs)
        sink = Lines()
        fleet = Fleet(env, arguments, sink=sink)
        others: list[Child] = []
        try:
            for number in range(1, workers + 1):
                fleet.start(f"worker-{number}")
            if flower is not None:
                others.append(start_child("flower", flower.command, env=env, sink=sink))
            introduce(url, fleet, flower)
            watch_over(fleet, others)
        finally:
            stop_everything(fleet, others)
    return Exit.OK


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """Make a folder for temporary files, and delete it with those that killed workers left."""
    with tempfile.TemporaryDirectory(prefix="graphstalk-dev-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@contextlib.contextmanager
def serving(data: Path | None, port: int | None) -> Iterator[str]:
    """Run a server for as long as the context lasts; yield its address."""
    from orchestrator.cli.embedded import DEFAULT_FOLDER, EmbeddedServer, find_server
    from orchestrator.config import without_password

    found = find_server()
    if found.url is not None:
        if data is not None or port is not None:
            msg = "REDIS_URL is set, so no server is started: --data and --port have no meaning"
            raise click.UsageError(msg)
        say(f"server    {without_password(found.url)} (REDIS_URL)")
        yield found.url
        return
    folder = data or DEFAULT_FOLDER
    with EmbeddedServer(folder, port, binary=found.binary) as server:
        with contextlib.suppress(FileExistsError), (folder / ".gitignore").open("x") as ignore:
            ignore.write("*\n")  # The data of a development server is no source.
        say(
            f"server    {server.url}  data in {folder}/  log {server.log_path.name}  (process "
            f"{server.pid})"
        )
        yield server.url


def introduce(url: str, fleet: Fleet, flower: Flower | None) -> None:
    """Print the addresses of the processes, and the first commands to try."""
    for name, child in fleet.workers.items():
        say(f"{name}  process {child.pid}")
    if flower is not None:
        say(f"flower    http://127.0.0.1:{flower.port}")
    victim = next(iter(fleet.workers.values()))
    say("")
    say("try this in another terminal, in this folder:")
    say("  graphstalk doctor                      # is everything well?")
    say("  graphstalk submit GRAPH INPUT --wait   # run a graph that is named in pyproject.toml")
    say(f"  {f'kill -9 {victim.pid}':<39}# other workers run its steps; nothing is lost")
    if not os.environ.get("REDIS_URL"):
        say(f"elsewhere, first: export REDIS_URL={url}")
    say("Ctrl-C stops everything.")
    say("")


def watch_over(fleet: Fleet, others: list[Child]) -> None:
    """Watch the processes until a person or supervisor asks to stop.

    Raises:
        CommandError: if one of them died at its start.
    """
    due: dict[str, float] = {}
    while True:
        now = time.monotonic()
        for child in [*fleet.workers.values(), *others]:
            code = child.exit_code()
            if code is None or child.name in due:
                continue
            if child in others or (now - child.started_s < START_S and code >= 0):
                msg = f"{child.name} ended with exit code {code}: its last lines say why"
                raise CommandError(msg)
            child.kill_all()  # The other processes of its session must end with it.
            say(
                f"{child.name} died (exit code {code}); it is started again in "
                f"{RESTART_DELAY_S:g} s"
            )
            due[child.name] = now + RESTART_DELAY_S
        for name in [name for name, at in due.items() if at <= now]:
            del due[name]
            say(f"{name} started again: process {fleet.start(name).pid}")
        time.sleep(POLL_S)


def stop_everything(fleet: Fleet, others: list[Child]) -> None:
    """Stop the workers, so that they can still commit, then the rest."""
    from orchestrator.cli.processes import STOP_GRACE_S, stop_children

    say("stopping workers …")
    stop_children(others, 2.0)
    killed = fleet.stop(STOP_GRACE_S)
    for child in killed:
        say(
            f"{child.name} did not stop within {STOP_GRACE_S:g} s and was killed; its steps go "
            "on at the next start"
        )
    say("stopped")


class Lines:
    """Prints the lines of many processes, each with the name of its process."""

    def __init__(self) -> None:
        self._colours: dict[str, str] = {}
        self._coloured = colour_allowed(sys.stdout)

    def __call__(self, name: str, line: str) -> None:
        """Print a line of a process under its name."""
        colour = self._colours.setdefault(name, COLOURS[len(self._colours) % len(COLOURS)])
        label = f"{name:<9}|"
        with contextlib.suppress(BrokenPipeError):
            click.echo(f"{click.style(label, fg=colour) if self._coloured else label} {line}")
