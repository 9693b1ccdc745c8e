"""Facts of a deployment: of the server, the interpreter, the files, the stored threads.

It judges nothing. A question without an answer leaves its fact unknown.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib import machinery, metadata
from pathlib import Path
from typing import Any

from orchestrator import limits
from orchestrator.checkpointer.fleet import Halt
from orchestrator.cli.command_options import from_workers, read_settings
from orchestrator.cli.findings import Facts, Place
from orchestrator.config import Settings, without_password, without_secrets
from orchestrator.dispatch.broker import broker_trouble, open_store
from orchestrator.errors import GraphstalkError, PartitionsDifferError
from orchestrator.maintenance.auditor import Auditor
from orchestrator.model.audit import Damage
from orchestrator.model.checkpoint import RunStatus

DISTRIBUTION = "graphstalk"
OUR_NAMES = ("orchestrator", "workers", "examples")
ANSWER_WAIT_S = 3.0


def server_facts(url: str) -> dict[str, Any]:
    """Ask the server for its INFO and its time; return what `Facts` knows of it."""
    import redis  # An import that --help must not pay for.

    try:
        with redis.Redis.from_url(
            url, socket_timeout=ANSWER_WAIT_S, socket_connect_timeout=ANSWER_WAIT_S
        ) as server:
            before = time.time()
            seconds, microseconds = server.time()
            ahead = seconds + microseconds / 1e6 - (before + time.time()) / 2
            return {"server_ahead_s": ahead, **info_facts(server)}
    except (redis.RedisError, ValueError, OSError) as error:
        return {"server_error": without_secrets(str(error), url) or type(error).__name__}


def info_facts(server: Any) -> dict[str, Any]:  # redis-py's client, which is imported late.
    """Ask for INFO, which managed servers refuse to some users."""
    import redis

    try:
        return {"info": server.info()}
    except redis.ResponseError as error:
        return {"info_error": str(error)}


def places_of(names: Iterable[str] = OUR_NAMES, here: Path | None = None) -> dict[str, Place]:
    """Return where import names lead for a process started in a folder, and where they should.

    `python -m` imports from the current folder before anything else.
    """
    root = Path(__file__).resolve().parents[2]
    others = other_distributions()
    places = {}
    for name in names:
        expected = root / name
        if expected.is_dir():
            found = find_module(name, [str(here or Path.cwd()), *sys.path])
            places[name] = Place(found, str(expected), others.get(name, ()))
    return places


def find_module(name: str, path: list[str]) -> str:
    """Return the file or folder that an import of `name` would use; nothing is imported."""
    spec = machinery.PathFinder.find_spec(name, path)
    if spec is None:
        return ""
    if spec.origin is None:  # A folder without __init__.py
        return str(Path(next(iter(spec.submodule_search_locations or [""]))).resolve())
    origin = Path(spec.origin).resolve()
    return str(origin.parent if origin.name == "__init__.py" else origin)


def other_distributions() -> Mapping[str, tuple[str, ...]]:
    """Return which installed distributions bring our names too."""
    found: dict[str, tuple[str, ...]] = {}
    for name, distributions in metadata.packages_distributions().items():
        rivals = tuple(sorted({each for each in distributions if each != DISTRIBUTION}))
        if name in OUR_NAMES and rivals:
            found[name] = rivals
    return found


def graph_facts(graphs: Mapping[str, str]) -> dict[str, Any]:
    """Load the configured graphs, as a worker started here would."""
    try:
        registry = from_workers(".configuration")
        wanted = dict(graphs) or registry.configured()
    except ImportError:
        return {}  # Something else answers to our name: that is what `places_of` is for.
    except GraphstalkError as error:
        return {"graphs": (), "graph_errors": {"configuration": str(error)}}
    errors: dict[str, str] = {}
    timeouts: dict[str, float] = {}
    for name, target in wanted.items():
        try:
            graph = registry.LoadedGraphs({name: target})[name]
        except GraphstalkError as error:
            errors[name] = str(error)
            continue
        for node in graph.spec.nodes.values():
            timeout = node.options.timeout
            if timeout is not None and timeout.run_timeout is not None:
                timeouts[f"{name}.{node.name}"] = timeout.run_timeout
    return {"graphs": tuple(wanted), "graph_errors": errors, "node_timeouts_s": timeouts}


def broker_facts(settings: Settings) -> dict[str, Any]:
    """Return whether the broker accepts messages, and the settings of redelivery."""
    return {"broker_trouble": broker_trouble(settings), **redelivery_facts(settings)}


def redelivery_facts(settings: Settings) -> dict[str, Any]:
    """Return the workers' settings of redelivery."""
    try:
        options = from_workers(".app").make_app(settings).conf.broker_transport_options
    except ImportError:
        return {}
    if options.get("ack_emulation") is False:
        return {}  # The broker does not record its deliveries, so it repeats none.
    return {"visibility_timeout_s": options.get("visibility_timeout")}


def fleet_facts(settings: Settings) -> dict[str, Any]:
    """Count the workers that are alive, and ask whether they are halted."""
    import redis  # An import that --help must not pay for.

    from orchestrator.client.client import Client

    try:
        with Client(settings=settings) as client:
            workers = client.workers()
        halts = halted(settings)
    except PartitionsDifferError as error:
        return {"partitions_error": str(error)}
    except (GraphstalkError, redis.RedisError):  # Such as the node of a cluster that is asked.
        return {}
    return {
        "workers": len(workers),
        "brokers_read": frozenset(worker.broker for worker in workers),
        "broker_name": settings.broker_name,
        "halts": {partition: str(halt) for partition, halt in halts.items()},
        "emptied": all(halt.kind == "other" for halt in halts.values()),
    }


def gather(url: str | None, graphs: Mapping[str, str]) -> Facts:
    """Gather the facts of a deployment."""
    settings = read_settings(url)
    known = server_facts(settings.url)
    if "server_error" not in known:
        known |= fleet_facts(settings)
    return Facts(
        url=without_password(settings.url),
        broker_url=without_password(settings.broker_url),
        optimized=sys.flags.optimize > 0,
        places=places_of(),
        **graph_facts(graphs),
        **broker_facts(settings),
        **known,
    )


# ---- audits and losses ----------------------------------------------------------------------


def audited(url: str | None, *, repair: bool) -> tuple[int, Sequence[Damage]]:
    """Audit every thread once; return their number and the damage found.

    Raises:
        CheckpointerUnavailableError: if the server does not answer.
    """
    with closing(open_store(read_settings(url), sends=False)) as store:
        audit = Auditor(store, repair=repair).all()
    return audit.threads, audit.found


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphan:
    """A thread that has not ended, and whose graph no living worker knows; as a `Damage`."""

    thread_id: str
    code: str
    why: str
    repaired: bool = False
    remedy: str = ""


def orphans(url: str | None) -> Sequence[Orphan]:
    """Return threads whose graph no living worker knows; nothing if no worker is alive at all.

    Of the threads in each status, the 1,000 that were changed last.

    Raises:
        CheckpointerUnavailableError: if the server does not answer.
    """
    with closing(open_store(read_settings(url), sends=False)) as store:
        workers = store.fleet.workers()
        known = {graph for worker in workers for graph in worker.graphs}
        open_threads = [
            found
            for status in RunStatus
            if not status.final
            for found in store.threads(status=status, limit=limits.THREADS_PAGE_MAX)
        ]
    return [
        Orphan(
            thread_id=thread_id,
            code="NO_GRAPH",
            why=f"the thread is {head.status}, and no living worker knows its graph {head.graph!r}",
            remedy=f"start a worker that knows {head.graph}, or cancel the thread",
        )
        for thread_id, head in open_threads
        if workers and not head.local and head.graph not in known
    ]


def accepted(url: str | None) -> dict[int, Halt]:
    """Accept the server's losses; return the halts, by partition.

    Raises:
        CheckpointerUnavailableError: if the server does not answer.
    """
    with closing(open_store(read_settings(url), sends=False)) as store:
        return store.fleet.accept_loss()


def halted(settings: Settings) -> dict[int, Halt]:
    """Return the halts, by partition.

    Raises:
        CheckpointerUnavailableError: if the server does not answer.
    """
    with closing(open_store(settings, sends=False)) as store:
        return store.fleet.halts()
