"""The options that commands share, and their values."""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from orchestrator.cli.exits import CommandError, Exit
from orchestrator.cli.output import say
from orchestrator.config import Settings, without_password, without_secrets
from orchestrator.errors import GraphstalkError

if TYPE_CHECKING:
    from orchestrator.client.client import Client
    from orchestrator.client.graph import CompiledStateGraph

GRAPHS_VARIABLE = "GRAPHSTALK_GRAPHS"  # How graphs reach workers: "name=module:attr,…".
Command = TypeVar("Command", bound=Callable[..., Any])


def remember_debug(ctx: click.Context, _: click.Parameter, value: bool) -> None:  # noqa: FBT001
    """Let `graphstalk COMMAND --debug` mean `graphstalk --debug COMMAND`."""
    if value and ctx.obj is not None:
        ctx.obj.debug = True


def check_graphs(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """Return graph names with where to import them, from `name=module:attr` or `module:attr`."""
    graphs: dict[str, str] = {}
    for value in values:
        name, equals, target = value.partition("=")
        if not equals:
            name, target = value.rpartition(":")[2], value
        module, colon, attribute = target.partition(":")
        if not (name and module and colon and attribute) or "," in value:
            msg = (
                f"{value!r} is not NAME=MODULE:ATTRIBUTE, for example census=examples.census:graph"
            )
            raise click.BadParameter(msg)
        graphs[name] = target
    return graphs


debug_option = click.option(
    "--debug",
    is_flag=True,
    expose_value=False,
    callback=remember_debug,
    help="Show where an error came from.",
)
graphs_option = click.option(
    "--graphs",
    multiple=True,
    metavar="NAME=MODULE:ATTR",
    callback=check_graphs,
    help=(
        "A graph to know, by name; repeatable. Default: [tool.graphstalk] of pyproject.toml, "
        "or langgraph.json."
    ),
)
as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
traceback_option = click.option(
    "--traceback", "with_traceback", is_flag=True, help="Print the traceback of each error."
)
_workers_option = click.option(
    "--workers", default=2, show_default=True, type=click.IntRange(1, 64), help="Worker processes."
)
_concurrency_option = click.option(
    "--concurrency",
    "-c",
    default=2,
    show_default=True,
    type=click.IntRange(min=1),
    help="Steps side by side, in each worker.",
)
url_option = click.option(
    "--url",
    metavar="URL",
    help=(
        "The Redis server. Default: $REDIS_URL, else the server of a `graphstalk dev` in this "
        "folder."
    ),
)


def connecting(command: Command) -> Command:
    """Give a command the options of every command that uses the server."""
    return functools.reduce(
        lambda inner, option: option(inner), (debug_option, url_option), command
    )


def with_fleet(command: Command) -> Command:
    """Give a command the options for the size of the fleet that it starts."""
    return _workers_option(_concurrency_option(command))


def resolve_url(url: str | None, env: Mapping[str, str] | None = None) -> str | None:
    """Return the server's address; `None` leaves the choice to the settings' default."""
    from orchestrator.cli.embedded import DEFAULT_FOLDER, url_of_running_server

    env = os.environ if env is None else env
    return url or env.get("REDIS_URL") or url_of_running_server(DEFAULT_FOLDER)


def with_graphs(env: Mapping[str, str], graphs: Mapping[str, str]) -> dict[str, str]:
    """Return the environment in which graphs given on the command line are known."""
    if not graphs:
        return dict(env)
    return {**env, GRAPHS_VARIABLE: ",".join(f"{name}={target}" for name, target in graphs.items())}


def read_settings(url: str | None) -> Settings:
    """Return the deployment's settings: from the command line, else the environment.

    Raises:
        CommandError: if a variable holds no valid value; the message names it.
    """
    try:
        return Settings.from_env(url=resolve_url(url))
    except ValueError as error:
        raise CommandError(str(error), Exit.USAGE) from error


def from_workers(part: str = "") -> Any:
    """Return the package `workers`, or one of its modules.

    By name, because `workers` is the layer above: it imports this package, never the reverse.
    """
    return importlib.import_module(f"workers{part}")


class FolderGraphs(Mapping[str, "CompiledStateGraph"]):
    """The graphs that are configured in this folder, each loaded when a command needs it.

    They are needed for the types of values only, so one that does not load is a message, no error.
    """

    def __init__(self) -> None:
        self._registry: Any = from_workers(".configuration")
        self._graphs: dict[str, CompiledStateGraph | None] = {}
        try:
            self._targets: dict[str, str] = self._registry.configured()
        except GraphstalkError as error:
            self._targets = {}
            say(f"graphstalk: {error} [{error.code}]; classes of graphs are not known here")

    def __getitem__(self, name: str) -> CompiledStateGraph:
        """Return a graph; `KeyError`: there is none of that name, or it does not load."""
        if name not in self._graphs:
            self._graphs[name] = self._loaded(name, self._targets[name])
        graph = self._graphs[name]
        if graph is None:
            raise KeyError(name)
        return graph

    def __iter__(self) -> Iterator[str]:
        return iter(self._targets)

    def __len__(self) -> int:
        return len(self._targets)

    def _loaded(self, name: str, target: str) -> CompiledStateGraph | None:
        try:
            with contextlib.redirect_stdout(sys.stderr):  # Standard output is the command's own.
                graph: CompiledStateGraph = self._registry.LoadedGraphs({name: target})[name]
        except GraphstalkError as error:
            say(f"graphstalk: {error} [{error.code}]; its classes are not known here")
            return None
        return graph


def open_reader(url: str | None, graphs: Mapping[str, str] | None = None) -> Client:
    """Connect to a deployment to show values, with the graphs given or those of this folder.

    Raises:
        CommandError: if the address is none.
    """
    return open_client(url, graphs) if graphs else _client(url, FolderGraphs())


def open_client(url: str | None, graphs: Mapping[str, str] | None = None) -> Client:
    """Connect to a deployment, with graphs known by name as they are to its workers.

    Raises:
        CommandError: if the address is none.
    """
    return _client(url, from_workers(".configuration").LoadedGraphs(graphs) if graphs else None)


def _client(url: str | None, known: Mapping[str, CompiledStateGraph] | None) -> Client:
    from orchestrator.client.client import Client  # It loads redis, which --help must not.

    settings = read_settings(url)
    try:
        return Client(graphs=known, settings=settings)
    except ValueError as error:
        why = without_secrets(str(error), settings.url)
        msg = f"{without_password(settings.url)!r} is no address of a server: {why}"
        raise CommandError(msg, Exit.USAGE) from error


def read_json(text: str | None, what: str) -> Any:  # JSON is any.
    """Return the JSON value given as text, as `@file`, or as `-` for standard input.

    Raises:
        CommandError: if it cannot be read or is not JSON; the message says where.
    """
    if text is None:
        return None
    source = what
    try:
        if text == "-":
            source, text = "standard input", sys.stdin.read()
        elif text.startswith("@"):
            source, text = text[1:], Path(text[1:]).read_text(encoding="utf-8")
        return json.loads(text)
    except OSError as error:
        msg = f"cannot read {source}: {error.strerror}"
        raise CommandError(msg, Exit.USAGE) from error
    except ValueError as error:
        msg = f"{source} is not JSON: {error}"
        raise CommandError(msg, Exit.USAGE) from error
