"""The command `graphstalk`.

Each command lives in a module of its own and is imported when it is used; what a command needs
(Celery, redis, rich) it imports when it runs. So `--help` answers at once, everywhere. (A test
holds the time.)
"""

from __future__ import annotations

from orchestrator.cli import stop_signals  # isort: skip  # First: it handles signals from here on.

import difflib
import importlib
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import click

from orchestrator.cli.exits import BROKEN_PIPE, Exit, exit_of, line_of

__all__ = ["Invocation", "cli", "main"]


class Entry(NamedTuple):
    """The module of a command, and its line in the list of commands."""

    module: str
    summary: str


COMMANDS: dict[str, Entry] = {
    "dev": Entry("orchestrator.cli.dev", "Start a server and workers here, for development."),
    "worker": Entry("orchestrator.cli.worker", "Run one worker in this process."),
    "submit": Entry("orchestrator.cli.runs", "Start a run of a graph on the fleet."),
    "threads": Entry("orchestrator.cli.threads", "List threads, newest first; delete some."),
    "state": Entry("orchestrator.cli.threads", "Show the state of a thread."),
    "history": Entry("orchestrator.cli.threads", "List the checkpoints of a thread, newest first."),
    "explain": Entry("orchestrator.cli.threads", "Show what a thread waits for."),
    "resume": Entry("orchestrator.cli.runs", "Answer what a thread asks, or continue it."),
    "cancel": Entry("orchestrator.cli.runs", "Cancel the run of a thread."),
    "demo": Entry(
        "orchestrator.cli.demo", "Run a census on a fleet, kill a worker, count lost steps."
    ),
    "check": Entry(
        "orchestrator.cli.doctor", "List stored threads that this code cannot continue."
    ),
    "chaos": Entry(
        "orchestrator.cli.chaos.command",
        "Inject faults into a fleet under load, judge every thread.",
    ),
    "doctor": Entry("orchestrator.cli.doctor", "Check the deployment: server, settings, threads."),
}


@dataclass
class Invocation:
    """The options of one call of the command line, before its command."""

    debug: bool = False


class LazyGroup(click.Group):
    """A group whose commands are imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """Return the names in the order in which a newcomer meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import the command of that name."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        command = getattr(importlib.import_module(entry.module), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; for an unknown name, suggest the nearest ones."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = difflib.get_close_matches(args[0], COMMANDS, n=2)
            if near and args[0] not in COMMANDS and "Did you mean" not in error.message:
                names = " or ".join(f"'{name}'" for name in near)
                msg = f"{error.message.rstrip('.')}. Did you mean {names}?"
                raise click.UsageError(msg, ctx) from error
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the list of commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in COMMANDS.items()])


def show_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:  # noqa: FBT001
    """Print the installed version and stop."""
    if wanted and not ctx.resilient_parsing:
        from importlib import metadata  # It costs start-up time and is rarely asked for.

        try:
            click.echo(f"graphstalk {metadata.version('graphstalk')}")
        except metadata.PackageNotFoundError:
            click.echo("graphstalk (not installed: run from its sources)")
        ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show where an error came from.")
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=show_version)
@click.pass_context
def cli(ctx: click.Context, *, debug: bool) -> None:
    """Run durable graphs on Celery and Redis.

    Exit codes: 0 ok, 1 failure, 2 usage, 3 not found, 4 conflict or busy, 5 paused and waiting for
    a person, 130 Ctrl-C, 143 SIGTERM. The services `worker` and `dev` end with 0 on SIGTERM.
    """
    if debug:
        ctx.ensure_object(Invocation).debug = True


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the process's exit code."""
    invocation = Invocation()
    try:
        stop_signals.raise_when_stopped()
        find_modules_of_this_folder()
        result = cli.main(
            args=None if arguments is None else list(arguments),
            prog_name="graphstalk",
            standalone_mode=False,
            obj=invocation,
        )
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return Exit.USAGE if isinstance(error, click.UsageError) else Exit.FAILURE
    except (click.Abort, KeyboardInterrupt) as error:
        stop_signals.mark_as_handled()
        asked = error.__cause__ or error  # click wraps the interrupt in its own exception.
        return stop_signals.exit_code_of(getattr(asked, "number", signal.SIGINT), arguments)
    except BrokenPipeError:
        # The reader left. The buffered output must not fail once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except Exception as error:  # noqa: BLE001  # The one place that owns the process.
        if invocation.debug:
            traceback.print_exception(error)
        click.echo(line_of(error), err=True)
        return exit_of(error)
    finally:
        stop_signals.end_at_once()  # Nothing is left to be stopped in order.
    return result if isinstance(result, int) else Exit.OK


def find_modules_of_this_folder() -> None:
    """Let graphs be imported from the current folder, as `python -m` does.

    At the end of the path, not at its start: a local folder named like one of our packages must not
    win.
    """
    here = os.getcwd()  # noqa: PTH109  # Path.cwd() would be the only use of pathlib at start-up.
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)
