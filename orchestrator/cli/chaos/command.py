"""`graphstalk chaos`: a fleet under load, faults drawn from a seed, a verdict on every thread."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.command_options import (
    as_json_option,
    check_graphs,
    debug_option,
    read_json,
    with_fleet,
)
from orchestrator.cli.exits import CommandError, Exit
from orchestrator.cli.output import aligned, say, show, show_json

if TYPE_CHECKING:
    from orchestrator.cli.chaos.drill import Drill, Load
    from orchestrator.cli.chaos.faults import Injector
    from orchestrator.cli.chaos.site import Crew, Site

BUILT_IN = {"chaos": "orchestrator.cli.chaos.load:graph"}
FINDINGS_SHOWN_MAX = 50
WORDS = {
    "faults": "faults",
    "commits": "steps committed",
    "lost": "lost",
    "duplicated": "committed twice",
    "stranded": "threads stranded",
    "different": "threads with another final state",
    "gaps": "threads with an incomplete record",
    "failed": "runs that failed",
    "stale_refused": "late commits refused",
    "noticed_s_p50": "a kill is noticed, p50 (s)",
    "noticed_s_p99": "a kill is noticed, p99 (s)",
    "takeover_s_p50": "takeover after a kill, p50 (s)",
    "takeover_s_p99": "takeover after a kill, p99 (s)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """The options of the command line."""

    minutes: float
    seed: int
    workers: int
    concurrency: int
    threads: int
    fault_every_s: float
    settle_s: float
    graphs: Mapping[str, str]  # Empty: the built-in one.
    input: Any


@click.command()
@click.option(
    "--minutes",
    default=2.0,
    show_default=True,
    type=click.FloatRange(min=0.05),
    help="How long faults are injected.",
)
@click.option("--seed", type=int, help="Draw the faults of that seed again. Default: a new one.")
@with_fleet
@click.option(
    "--threads",
    default=12,
    show_default=True,
    type=click.IntRange(1, 1000),
    help="Threads in flight at a time.",
)
@click.option(
    "--fault-every",
    default=1.5,
    show_default=True,
    type=click.FloatRange(min=0.1),
    metavar="S",
    help="Seconds between two faults.",
)
@click.option(
    "--settle",
    default=120.0,
    show_default=True,
    type=click.FloatRange(min=1),
    metavar="S",
    help="A thread that still runs S seconds after the last fault is stranded.",
)
@click.option(
    "--graphs",
    multiple=True,
    metavar="NAME=MODULE:ATTR",
    callback=check_graphs,
    help="A graph to run, by name; repeatable. Default: one that has everything.",
)
@click.option("--input", "text", metavar="JSON|@FILE", help="The input of every thread.")
@click.option(
    "--url",
    metavar="URL",
    help="A server to use, in a namespace of our own. It is never killed. Default: $REDIS_URL, "
    "else one that is started here.",
)
@click.option(
    "--broker",
    metavar="URL",
    help="A RabbitMQ or Redis for the messages, in a queue of our own. It is never killed. "
    "Default: the server.",
)
@click.option("--keep", is_flag=True, help="Keep the data and the logs, and say where.")
@as_json_option
@debug_option
def chaos(  # noqa: PLR0913  # One for each option.
    *,
    minutes: float,
    seed: int | None,
    workers: int,
    concurrency: int,
    threads: int,
    fault_every: float,
    settle: float,
    graphs: dict[str, str],
    text: str | None,
    url: str | None,
    broker: str | None,
    keep: bool,
    as_json: bool,
) -> int:
    """Run load on a fleet, inject faults, and judge every thread.

    Starts workers (and a server, unless one is named), keeps threads in flight, and kills, stops
    and restarts processes, loses and doubles messages, as the seed says. Afterwards every planned
    step must have been committed exactly once, and every thread must have ended or wait for an
    answer. Exit code 1 if not, with the threads and the seed.
    """
    if graphs and text is None:
        msg = "--graphs needs --input: what every thread begins with"
        raise click.UsageError(msg)
    if text is not None and not graphs:
        msg = "--input is for --graphs: the built-in graph draws its own"
        raise click.UsageError(msg)
    from orchestrator.cli.chaos.site import site  # --help must not pay.
    from orchestrator.cli.processes import raise_on_stop_signals

    order = Order(
        minutes=minutes,
        seed=int(time.time()) if seed is None else seed,
        workers=workers,
        concurrency=concurrency,
        threads=threads,
        fault_every_s=fault_every,
        settle_s=settle,
        graphs=graphs,
        input=read_json(text, "--input"),
    )
    with raise_on_stop_signals(), site(url, broker) as where:
        drill, report = perform(where, order)
        where.keep = keep or bool(drill.verdict.findings)
        if drill.verdict.findings:
            keep_evidence(where, drill)
    return conclude(drill, report, as_json=as_json)


def perform(where: Site, order: Order) -> tuple[Drill, dict[str, Any]]:
    """Run the drill; return it and its report."""
    from orchestrator.checkpointer.redis.store import RedisCheckpointer
    from orchestrator.cli.board import LineBoard
    from orchestrator.cli.chaos.drill import Drill, Plan, Witness
    from orchestrator.cli.chaos.faults import Injector, drawn, opened_queue, possible
    from orchestrator.cli.command_options import from_workers
    from orchestrator.client.client import Client
    from orchestrator.config import Settings

    targets = order.graphs or BUILT_IN
    settings = Settings.from_env(url=where.url)
    registry = from_workers(".registry").Registry(targets)
    queues = named_queues(registry)
    if queues and where.server is None:
        msg = (
            f"nodes of these graphs name queues ({', '.join(sorted(queues))}), which other workers "
            "on that server may take from too: run chaos on a server of its own, without --url"
        )
        raise CommandError(msg, Exit.USAGE)
    witness = None if order.graphs else Witness(where.folder / "witness")
    note = LineBoard().note
    note(f"seed {order.seed}")
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(Client(graphs=registry, settings=settings))
        store = stack.enter_context(contextlib.closing(RedisCheckpointer(settings=settings)))
        name = settings.queue_prefix + settings.queue
        queue = stack.enter_context(opened_queue(settings.broker_url, name))
        crew = hired(where, order, targets, {settings.queue, *queues})
        stack.callback(crew.close)
        crew.start(lambda: [worker.pid for worker in client.workers()])
        note(f"{order.workers} workers are at work")
        plan = Plan(
            seconds=order.minutes * 60,
            threads=order.threads,
            fault_every_s=order.fault_every_s,
            settle_s=order.settle_s,
        )
        drill = Drill(client, store, crew, load_of(order), plan, witness, note)
        injector = Injector(crew, where, queue, clock_of(settings.url))
        drill.run(injector, drawn(order.seed, possible(where, settings.broker_url)))
        report = report_of(order, drill, injector, crew, stale_refused(store))
    for text in crew.unasked:
        say(text)
    if drill.parked:
        say(f"{drill.parked} times a step lost its worker so often that it was parked: carried on")
    return drill, report


def hired(where: Site, order: Order, targets: Mapping[str, str], queues: set[str]) -> Crew:
    """Return the workers, not yet started."""
    from orchestrator.cli.chaos.load import WITNESS_VARIABLE
    from orchestrator.cli.chaos.site import Crew
    from orchestrator.cli.processes import worker_environment
    from orchestrator.cli.worker import worker_arguments

    env = worker_environment(where.url, where.folder, targets)
    env[WITNESS_VARIABLE] = "" if order.graphs else str(where.folder / "witness")
    arguments = worker_arguments(
        concurrency=order.concurrency, queues=",".join(sorted(queues)), loglevel="warning"
    )
    return Crew(env, arguments, where.folder, order.workers)


def clock_of(url: str) -> Callable[[], float]:
    """Return a function that returns the time of a server, in milliseconds."""
    import redis

    with redis.Redis.from_url(url) as server:
        seconds, micros = server.time()
    ahead_ms = seconds * 1000 + micros / 1000 - time.time() * 1000
    return lambda: time.time() * 1000 + ahead_ms


def load_of(order: Order) -> Load:
    """Return the load of the drill."""
    from orchestrator.cli.chaos.drill import Load
    from orchestrator.cli.chaos.load import ANSWER, drawn_input, undisturbed

    if not order.graphs:
        return Load(
            input_of=lambda number: ("chaos", drawn_input(order.seed, number)),
            answer=ANSWER,
            expected=undisturbed,
        )
    names = list(order.graphs)
    return Load(input_of=lambda number: (names[number % len(names)], order.input))


def named_queues(registry: Mapping[str, Any]) -> set[str]:
    """Return the queues that nodes of these graphs name."""
    nodes = [node for graph in registry.values() for node in graph.spec.nodes.values()]
    return {node.options.queue for node in nodes if node.options.queue}


def stale_refused(store: Any) -> int:
    """Return how many late commits the store has refused."""
    keys = [store.keys.partition(number) + "stats" for number in range(store.partitions)]
    return sum(int(store.client.hget(key, "stale_refused") or 0) for key in keys)


def report_of(
    order: Order, drill: Drill, injector: Injector, crew: Crew, stale: int
) -> dict[str, Any]:
    """Return what `--json` prints."""
    from orchestrator.cli.ledger import percentile, takeover_times

    verdict = drill.verdict
    noticed, times = takeover_times(verdict.rerun, crew.deaths)
    return {
        "minutes": order.minutes,
        "faults": injector.hits.total(),
        "commits": verdict.commits,
        "lost": verdict.count("lost"),
        "duplicated": verdict.count("duplicated"),
        "stranded": verdict.count("stranded"),
        "different": verdict.count("different"),
        "gaps": verdict.count("gap"),
        "failed": drill.failed,
        "stale_refused": stale,
        "noticed_s_p50": percentile(noticed, 0.5),
        "noticed_s_p99": percentile(noticed, 0.99),
        "takeover_s_p50": percentile(times, 0.5),
        "takeover_s_p99": percentile(times, 0.99),
        "threads": verdict.threads,
        "seed": order.seed,
        "faults_by_kind": {str(kind): count for kind, count in sorted(injector.hits.items())},
    }


def keep_evidence(where: Site, drill: Drill) -> None:
    """Write the events of every thread with a finding into the folder that is kept."""
    from orchestrator.cli.output import json_line

    for thread, events in drill.evidence.items():
        path = where.folder / f"{thread}.events.jsonl"
        path.write_text("\n".join(json_line(readable(event)) for event in events), "utf-8")


def readable(event: Any) -> dict[str, Any]:
    """Return an event with its texts as texts."""
    fields = {k: v.decode("utf-8", "replace") for k, v in event.fields.items()}
    return {"seq": event.seq, "ts_ms": event.ts_ms, "type": event.type, **fields}


def conclude(drill: Drill, report: Mapping[str, Any], *, as_json: bool) -> int:
    """Print the verdict; return the exit code it deserves."""
    findings = drill.verdict.findings
    table = aligned(
        (f"chaos, seed {report['seed']}", ""),
        [(words, "-" if report[key] is None else report[key]) for key, words in WORDS.items()],
    )
    (say if as_json else show)(table)
    for finding in findings[:FINDINGS_SHOWN_MAX]:
        say(str(finding))
    if len(findings) > FINDINGS_SHOWN_MAX:
        say(f"and {len(findings) - FINDINGS_SHOWN_MAX} more")
    if findings:
        say(f"the same faults again: --seed {report['seed']}")
    if as_json:
        show_json(report)
    return Exit.FAILURE if findings else Exit.OK
