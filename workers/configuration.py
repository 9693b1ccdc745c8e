"""The configuration of a worker: the graphs that it loads, and the pool of Celery that it has.

Names of graphs come from the configuration, never from stored data: a message or a thread that
names a graph which is not configured here finds nothing.

A pool process that is recycled exits between two messages, so it holds no claim, and its keeper
finds the next one. (`keeper.py`)
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tomllib
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from orchestrator.client.graph import CompiledStateGraph
from orchestrator.errors import GraphstalkError

__all__ = [
    "GRAPHS_VARIABLE",
    "POOLS",
    "ConfigurationError",
    "LoadedGraphs",
    "add_pool_options",
    "configured",
    "parse_graphs",
    "pool_arguments",
    "refused_pool",
]

GRAPHS_VARIABLE = "GRAPHSTALK_GRAPHS"


class ConfigurationError(GraphstalkError):
    """A configuration that cannot work: a graph that cannot be loaded, or a server."""

    code = "INVALID_CONFIGURATION"


def parse_graphs(text: str) -> dict[str, str]:
    """Return `name=module:attribute` pairs, separated by commas; the attribute is a default name.

    Raises:
        ConfigurationError: if a part has no colon.
    """
    found = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, _, target = part.rpartition("=")
        _, colon, attribute = target.rpartition(":")
        if not colon or not attribute:
            msg = f"{part!r} names no graph: expected name=package.module:attribute"
            raise ConfigurationError(msg)
        found[name or attribute] = target
    return found


def configured(env: Mapping[str, str] | None = None, folder: Path | None = None) -> dict[str, str]:
    """Return the configured graphs: name → `module:attribute` or `path.py:attribute`.

    From `GRAPHSTALK_GRAPHS`, else `[tool.graphstalk] graphs` of the folder's `pyproject.toml`, else
    its `langgraph.json`.

    Raises:
        ConfigurationError: if a file cannot be read.
    """
    text = (os.environ if env is None else env).get(GRAPHS_VARIABLE)
    if text:
        return parse_graphs(text)
    folder = folder or Path.cwd()
    for name, pick in (("pyproject.toml", _from_pyproject), ("langgraph.json", _from_langgraph)):
        path = folder / name
        if path.is_file():
            try:
                graphs = pick(path.read_text("utf-8"))
            except ValueError as error:
                msg = f"{path} cannot be read: {error}"
                raise ConfigurationError(msg) from error
            if graphs:
                return graphs
    return {}


def _from_pyproject(text: str) -> dict[str, str]:
    tool = tomllib.loads(text).get("tool", {}).get("graphstalk", {})
    return {str(name): str(target) for name, target in tool.get("graphs", {}).items()}


def _from_langgraph(text: str) -> dict[str, str]:
    graphs = json.loads(text).get("graphs", {})
    return {
        str(name): str(target.get("path") if isinstance(target, Mapping) else target)
        for name, target in graphs.items()
    }


class LoadedGraphs(Mapping[str, CompiledStateGraph]):
    """Configured graphs, loaded."""

    def __init__(self, graphs: Mapping[str, str], folder: Path | None = None) -> None:
        """Load all of them.

        Raises:
            ConfigurationError: if one cannot be loaded, or is no compiled graph.
        """
        here = str((folder or Path.cwd()).resolve())
        if here not in sys.path:
            sys.path.insert(0, here)
        self._graphs = {name: _load(name, target) for name, target in graphs.items()}

    def __getitem__(self, name: str) -> CompiledStateGraph:
        """Return the graph of that name."""
        return self._graphs[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over names."""
        return iter(self._graphs)

    def __len__(self) -> int:
        """Return how many graphs there are."""
        return len(self._graphs)


def _load(name: str, target: str) -> CompiledStateGraph:
    place, _, attribute = target.rpartition(":")
    try:
        module: Any = _from_file(name, place) if place.endswith(".py") else import_module(place)
    except Exception as error:
        msg = (
            f"the graph {name!r} cannot be loaded from {target!r}: {type(error).__name__}: {error}"
        )
        raise ConfigurationError(msg) from error
    graph = getattr(module, attribute, None)
    if not isinstance(graph, CompiledStateGraph):
        what = "is missing" if graph is None else f"is a {type(graph).__name__}"
        msg = f"the graph {name!r}: {target!r} {what}; expected the result of StateGraph.compile()"
        raise ConfigurationError(msg)
    return graph


def _from_file(name: str, place: str) -> Any:
    spec = spec_from_file_location(f"graphstalk_graph_{name}", place)
    if spec is None or spec.loader is None:
        msg = f"no Python file {place!r}"
        raise ImportError(msg)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ---- pools ----------------------------------------------------------------------------------

POOLS = ("prefork", "threads", "solo")
_GREEN = ("gevent", "eventlet")


def refused_pool(name: str) -> str:
    """Return why a worker cannot have a pool; empty: it can."""
    if name in POOLS:
        return ""
    known = ", ".join(POOLS)
    if name in _GREEN:
        return (
            f"the pool must be one of {known} ({name}): green threads share one OS thread, and a "
            f"step waits for its store and for its coroutines in a way that blocks it, so steps "
            f"would run one at a time. Use --pool threads, and async nodes for what waits"
        )
    return f"the pool must be one of {known} ({name})"


def add_pool_options(parser: argparse.ArgumentParser) -> None:
    """Let a command line name the pool and its options."""
    parser.add_argument("-P", "--pool", type=_pool, default="prefork", help=", ".join(POOLS))
    parser.add_argument(
        "--max-tasks-per-child",
        type=_positive,
        metavar="N",
        help="replace a pool process after N messages (prefork)",
    )
    parser.add_argument(
        "--max-memory-per-child",
        type=_positive,
        metavar="KIB",
        help="replace a pool process that uses more memory than this after a message (prefork)",
    )
    parser.add_argument(
        "--autoscale",
        type=_range,
        metavar="MAX,MIN",
        help="have as many pool processes as there is work for, within these bounds (prefork)",
    )


def pool_arguments(options: argparse.Namespace) -> Iterator[str]:
    """Yield the arguments for Celery.

    Raises:
        ValueError: if the pool has no such option.
    """
    yield f"--pool={options.pool}"
    for name in ("max_tasks_per_child", "max_memory_per_child", "autoscale"):
        value = getattr(options, name)
        if value is None:
            continue
        option = "--" + name.replace("_", "-")
        if options.pool != "prefork":
            msg = (
                f"{option} needs --pool prefork ({options.pool}): the other pools run nodes in the "
                f"worker's own process, which cannot be replaced under them. Leave the option out"
            )
            raise ValueError(msg)
        yield f"{option}={value}"


def _pool(name: str) -> str:
    if why := refused_pool(name):
        raise argparse.ArgumentTypeError(why)
    return name


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        msg = f"it must be a whole number greater than 0 ({text})"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def _range(text: str) -> str:
    bounds = text.split(",")
    whole = all(bound.isascii() and bound.isdigit() for bound in bounds)
    if not (whole and len(bounds) == 2 and 1 <= int(bounds[1]) <= int(bounds[0])):
        msg = f"it must be MAX,MIN: whole numbers, MIN at least 1, MAX not below MIN ({text})"
        raise argparse.ArgumentTypeError(msg)
    return text
